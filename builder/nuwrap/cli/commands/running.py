"""`nuwrap run`, `nuwrap serve`, `nuwrap build`, `nuwrap nuclio` and `nuwrap cache`."""

from __future__ import annotations

from typing import Any

import click

from nuwrap.cli.commands import JSON, SET, with_options

# What all three have in common, then what `run` and `serve` have, in the order of --help.
_VALUES = (
    click.argument("file", metavar="FILE", type=click.Path()),
    click.option("-p", "--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter of the handler."),
    click.option("-i", "--input", "inputs", multiple=True, metavar="NAME=PATH", help="An input: a path or an address."),
    click.option(
        "--init-param", "init_params", multiple=True, metavar="NAME=VALUE", help="A parameter of init_function."
    ),
    click.option("--timeout-s", type=float, metavar="N", help="Longest time of one call of the handler, in seconds."),
    click.option(
        "--env", "envs", multiple=True, metavar="NAME=VALUE", help="A variable of the function's environment."
    ),
)
_FUNCTION = (
    *_VALUES,
    click.option("--python", default="", metavar="PATH", help="The interpreter, instead of the one of python_version."),
    click.option(
        "--secret", "secrets", multiple=True, metavar="NAME", help="A secret; its value is that variable's, here."
    ),
    click.option("--refresh", is_flag=True, help="Resolve the requirements anew."),
    click.option(
        "--platform",
        default="",
        metavar="NAME",
        help="Where it runs: local, docker, kubernetes or, for services, nuclio; the setting, else local.",
    ),
    click.option("--refresh-code", is_flag=True, help="Fetch the code though the image has it."),
    SET,
)
_PORT = click.IntRange(0, 65535)
_COUNT = click.IntRange(min=1)
_SERVICE = (
    click.option(
        "--host",
        type=click.Choice(["nuwrap", "nuclio"]),
        help="Who takes the requests: nuwrap itself, by default, or Nuclio's processor: $NUWRAP_PROCESSOR, else "
        "`processor` on PATH.",
    ),
    click.option("--port", type=_PORT, metavar="N", help="The service's port, 8080 by default; 0 takes any free one."),
    click.option(
        "--admin-port", type=_PORT, metavar="N", help="The port of /ready, /metrics and /docs, 8082 by default; 0: any."
    ),
    click.option("--address", metavar="IP", help="The address to listen on, 127.0.0.1 by default."),
    click.option(
        "--workers", type=click.IntRange(1, 256), metavar="N", help="Processes that hold the function, 2 by default."
    ),
    click.option(
        "--gpu",
        type=click.IntRange(min=0),
        default=0,
        metavar="N",
        help="The function uses N GPUs: one worker unless --workers says more.",
    ),
    click.option(
        "--max-inflight", type=_COUNT, metavar="N", help="Requests at once, waiting ones too, 64 by default; then 429."
    ),
    click.option(
        "--concurrency",
        type=click.IntRange(1, 1024),
        metavar="N",
        help="Requests at once in each worker of an async handler, 16 by default.",
    ),
    click.option(
        "--max-body-bytes", type=_COUNT, metavar="N", help="Largest body of a request, 64 MiB by default; then 413."
    ),
    click.option(
        "--grace-s", type=float, metavar="N", help="Time for requests to end after a stop, in seconds, 30 by default."
    ),
    click.option("--access-log", is_flag=True, help="Log each request."),
)


@click.command(short_help="Run a function once, as a job.")
@with_options(*_FUNCTION)
@click.option(
    "--output-path",
    default="",
    metavar="PATH",
    help="A folder, or an address s3://…, that gets outputs and result; .nuwrap/runs/<id>/ by default.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print the result document, and nothing else, to standard output."
)
def run(**options: Any) -> int:
    """Run the function of FILE, a YAML file or a folder with a function.yaml, once, here or on --platform.

    A VALUE is JSON where it reads as JSON (0.5, true, [1, 2]), else text; write -p 'version="1.10"' for a text that
    reads as a number. What the run leaves behind is in .nuwrap/runs/<id>/. The exit code is the run's: 0 done,
    1 the handler raised, 2 usage, 3 source, 4 requirements, 5 load, 6 init, 7 inputs, 8 outputs, 9 ended without an
    answer, 10 platform, 124 time-out, 143 stopped, 128+n killed by signal n (137: most often a lack of memory).
    """
    from nuwrap.cli.arguments import Options
    from nuwrap.cli.run import run_function

    return run_function(Options(**options))


@click.command(short_help="Serve a function over HTTP until Ctrl-C.")
@with_options(*_SERVICE, *_FUNCTION)
@click.option(
    "--json", "as_json", is_flag=True, help="Print the addresses, phases and logs as JSON lines, for a program."
)
def serve(**options: Any) -> int:
    """Serve the function of FILE, a YAML file or a folder with a function.yaml, over HTTP, here or on --platform.

    Parameters and inputs are the same for every request; the handler's other arguments come with the request, from
    its JSON body or its query. A VALUE is JSON where it reads as JSON. Only this machine can call it unless --address
    says otherwise. Ctrl-C lets the requests under way end, a second one does not. The log is in .nuwrap/runs/<id>/.
    The exit code is 0 after a clean end, 2 usage, 3 source, 4 requirements, 5 load, 6 init, 7 inputs, 9 the function's
    process ended by itself while it started, 10 platform (a port that is taken), 143 stopped before it was ready or
    without waiting for requests, 128+n killed by signal n (137: most often a lack of memory).
    """
    from nuwrap.cli.serve import ServeOptions, serve_function

    return serve_function(ServeOptions(**options))


@click.command(short_help="Build a function's image.")
@click.argument("file", metavar="FILE", type=click.Path())
@click.option("--push/--no-push", default=None, help="Send it to its registry; as build.registry is set, by default.")
@click.option(
    "--engine",
    type=click.Choice(["auto", "docker", "kaniko"]),
    help="What builds; the setting build.engine, else the first that can.",
)
@click.option(
    "--destination", "destinations", multiple=True, metavar="IMAGE", help="A further name that the image gets."
)
@click.option("--tar", "tar_path", metavar="FILE", help="Write the image to FILE too, for `docker load`.")
@click.option("--oci", "oci_path", metavar="FOLDER", help="Write the image to FOLDER too, as an OCI layout.")
@click.option(
    "--instruction", "instructions", multiple=True, metavar="COMMAND", help="A command that the build runs as root."
)
@click.option("--env", "envs", multiple=True, metavar="NAME=VALUE", help="A variable of the build alone.")
@click.option(
    "--persist-env", "persistent", multiple=True, metavar="NAME=VALUE", help="A variable that stays in the image."
)
@click.option(
    "--secret", "secrets", multiple=True, metavar="NAME", help="A secret; instructions read /run/secrets/NAME."
)
@click.option("--timeout-s", type=float, metavar="N", help="Longest time of the build, in seconds.")
@click.option(
    "--platform", default="", metavar="NAME", help="Where it is built: local or kubernetes; the setting, else local."
)
@with_options(SET)
@click.option("--rebuild", is_flag=True, help="Build anew, without what is kept of earlier builds.")
@click.option("-v", "--verbose", is_flag=True, help="Show what the engine prints too; the log has it always.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the result document, and nothing else, to standard output."
)
def build(**options: Any) -> int:
    """Build the image of the function of FILE, a YAML file or a folder with a function.yaml.

    Base image, requirements and code are the function's. The image runs by itself (`docker run IMAGE`), as a job or as
    a service, and the function's next runs start from it. Its tag is made of its content: what has not changed is not
    built again. Printed is the image's name, by digest where a registry has it. The exit code is 0 done, 2 usage,
    3 source, 10 the build failed, 143 stopped.
    """
    from nuwrap.cli.build import BuildOptions, build_function

    return build_function(BuildOptions(**options))


@click.command(short_help="Write a function's files for Nuclio.")
@with_options(*_VALUES)
@click.option("-o", "--output", default="nuclio", metavar="FOLDER", help="Where they go, nuclio/ by default.")
@click.option(
    "--image", default="", metavar="IMAGE", help="One with nuwrap and a processor, which is run as it is: no build."
)
@click.option(
    "--secret", "secrets", multiple=True, metavar="NAME", help="A secret, by name: the cluster has its value."
)
@click.option(
    "--workers", type=click.IntRange(1, 256), metavar="N", help="Processes that hold the function, 2 by default."
)
@click.option("--max-body-bytes", type=_COUNT, metavar="N", help="Largest body of a request, 64 MiB by default.")
@click.option("--address", metavar="IP", help="Where processor.yaml listens, 127.0.0.1 by default.")
@click.option("--port", type=click.IntRange(1, 65535), metavar="N", help="Its port, 8080 by default.")
@click.option("--admin-port", type=click.IntRange(1, 65535), metavar="N", help="The port of /ready, 8082 by default.")
@JSON
def nuclio(**options: Any) -> int:
    """Write the function of FILE, a YAML file or a folder with a function.yaml, as files that Nuclio reads.

    \b
    function.yaml    for nuctl and the dashboard; without --image how it is built is yours to add
    processor.yaml   for `processor --config`
    platform.yaml    for `processor --platform-config`
    launch.json      what nuwrap in the container fetches, installs and calls

    Nothing is fetched, and nothing is overwritten but what nuwrap wrote itself. What to type next is printed.
    """  # noqa: D301 - click's mark for lines that stay as they are
    from nuwrap.cli.nuclio import NuclioOptions, write_files

    return write_files(NuclioOptions(**options))


@click.group(short_help="Show or clean what is kept for later runs.")
def cache() -> None:
    """Show or clean what is kept for later runs of this user: sources, environments, nuwrap's own files.

    It lies in $NUWRAP_CACHE, else in nuwrap/ of the user's cache folder.
    """


@cache.command(name="ls", short_help="List what is kept.")
@JSON
def list_cache(*, as_json: bool) -> int:
    """List what is kept, how large it is and when it was last used."""
    from nuwrap.cli.cache import show_kept

    return show_kept(as_json=as_json)


@cache.command(name="clean", short_help="Remove what was not used for long.")
@click.option(
    "--older-than",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    help="Remove what was last used that long ago; 30 by default.",
)
@click.option("--all", "remove_all", is_flag=True, help="Remove all that no run uses.")
@click.option("--dry-run", is_flag=True, help="Only tell what would go.")
@JSON
def clean_cache(*, older_than: float | None, remove_all: bool, dry_run: bool, as_json: bool) -> int:
    """Remove what was not used for long, and what runs that were killed have left; what a run uses stays."""
    from nuwrap.cli.cache import clean

    flags = [*(["--all"] if remove_all else []), *(["--dry-run"] if dry_run else [])]
    age = [] if older_than is None else ["--older-than", str(older_than)]
    return clean([*age, *flags], as_json=as_json)


COMMANDS: tuple[click.Command, ...] = (run, serve, build, nuclio, cache)
