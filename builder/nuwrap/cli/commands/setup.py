"""Commands around a function before it runs, and around this machine."""

from __future__ import annotations

import re
from typing import Any

import click

from nuwrap.cli.commands import JSON, SET, with_options

SHELLS = ("bash", "fish", "zsh")
# As nuwrap.spec.fields.SCHEMAS, whose import would cost each --help 100 ms.
SCHEMAS = ("function", "run", "launch", "result")
_FILE = click.argument("file", metavar="FILE", type=click.Path())
_PYTHON = click.option(
    "--python", default="", metavar="PATH", help="The interpreter, instead of the one of python_version."
)
_PROJECT = click.option("--project", metavar="NAME", help="The secret's project, 'default' by default.")


@click.command(short_help="Write a function to begin with.")
@click.argument("folder", metavar="[FOLDER]", default=".", type=click.Path(file_okay=False))
@click.option("--name", default="", metavar="NAME", help="The function's name; the folder's by default.")
@click.option("--project", default="default", metavar="NAME", help="The function's project, 'default' by default.")
@click.option("--python-version", default="", metavar="3.X", help="Python that runs it; this one's by default.")
@JSON
def init(*, folder: str, **options: Any) -> int:
    """Write a function, a test of it and its function.yaml into FOLDER, the current one by default.

    Nothing is overwritten: where one of the files is there already, none is written. What to type next is printed.
    """
    from nuwrap.cli.init import begin

    return begin(folder, **options)


@click.command(short_help="Look whether a function is whole.")
@with_options(_FILE, _PYTHON, JSON)
def check(*, file: str, python: str, as_json: bool) -> int:
    """Look whether the function of FILE, a YAML file or a folder with a function.yaml, can be loaded.

    Its code is fetched, its requirements are installed and its modules imported, as for a run; nothing of it is called.
    The exit code is 0 when it is whole, else that of a run: 2 the file, 3 source, 4 requirements, 5 load (no such
    module or handler, an error in it), 10 platform (no such Python).
    """
    from nuwrap.cli.check import check_function

    return check_function(file, python=python, as_json=as_json)


@click.command(short_help="Tell what a run would do.")
@with_options(
    _FILE,
    click.option(
        "--action",
        type=click.Choice(["job", "serve", "build"]),
        default="job",
        help="What is asked for, job by default.",
    ),
    click.option(
        "--instruction", "instructions", multiple=True, metavar="COMMAND", help="A command that a build runs as root."
    ),
    click.option("-p", "--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter of the handler."),
    click.option("-i", "--input", "inputs", multiple=True, metavar="NAME=PATH", help="An input: a path, a key."),
    click.option(
        "--init-param", "init_params", multiple=True, metavar="NAME=VALUE", help="A parameter of init_function."
    ),
    _PYTHON,
    click.option("--refresh", is_flag=True, help="Resolve the requirements anew."),
    click.option("--platform", default="", metavar="NAME", help="Where it would run; of kubernetes its objects."),
    SET,
    JSON,
)
def plan(**options: Any) -> int:
    """Tell what a run of FILE with these arguments would do: interpreter, code, requirements, inputs, and what of it is
    there from before and used again. Nothing is fetched, installed or written, neither here nor in the history.

    The launch document stands below: what the function's host would be given; of a build, the Dockerfile; of a run on
    platform kubernetes, the objects that the cluster would be given, once it has looked at them. To tell what a build
    would do the code is fetched, into a folder that is gone afterwards. The exit code is 0, or the one with
    which the run would end before it begins: 2 the file or an argument, 3 source, 4 requirements, 7 inputs, 10 no such
    Python, no engine, no such base image.
    """
    instructions = options.pop("instructions")
    if options["action"] == "build":
        from nuwrap.cli.arguments import Options
        from nuwrap.cli.build_plan import show_build_plan

        return show_build_plan(
            Options(**{name: options[name] for name in ("file", "as_json", "platform", "sets")}), instructions
        )
    if instructions:
        raise click.UsageError("--instruction goes with --action build")
    from nuwrap.cli.arguments import goes_to_cluster

    if goes_to_cluster(options["platform"]):
        from nuwrap.cli.arguments import Options
        from nuwrap.cli.objects_plan import show_objects_plan

        action = options.pop("action")
        return show_objects_plan(Options(**options), action)
    from nuwrap.cli.plan import PlanOptions, show_plan

    return show_plan(PlanOptions(**options))


@click.command(short_help="Tell what an image is made of.")
@click.argument("what", metavar="FILE|IMAGE")
@click.option(
    "--instruction", "instructions", multiple=True, metavar="COMMAND", help="A command that the build of FILE runs."
)
@JSON
def explain(*, what: str, instructions: tuple[str, ...], as_json: bool) -> int:
    """Tell what an image was made of, and each layer's size. Nothing is pulled.

    Of a function's FILE it is the image that was built last, and what has changed since then: base image, requirements
    one by one, instructions, files, and which steps a build would do again because of it.
    """
    from nuwrap.cli.explain import explain as explain_image

    return explain_image(what, instructions, as_json=as_json)


@click.command(short_help="Print a JSON Schema, for an editor.")
@click.argument("name", metavar="[function|run|launch|result]", default="function", type=click.Choice(SCHEMAS))
def schema(*, name: str) -> int:
    """Print the JSON Schema of a function file, of a run's values, of a launch or of a result document.

    \b
    An editor that knows it completes and checks what you write. Keep it beside the function file
        nuwrap schema > function.schema.json
    and name it in that file's first line, which VS Code (YAML extension) and others read:
        # yaml-language-server: $schema=function.schema.json
    """  # noqa: D301 - click's mark for lines that stay as they are
    import json

    from nuwrap.spec.fields import json_schema

    print(json.dumps(json_schema(name), indent=2))
    return 0


@click.group(short_help="Show or change settings.", invoke_without_command=True)
@JSON
@click.pass_context
def config(context: click.Context, *, as_json: bool) -> int:
    """Show all settings, those of $NUWRAP_HOME, for all projects; `get` shows one and `set` changes it."""
    from nuwrap.cli.config import show_settings

    return 0 if context.invoked_subcommand else show_settings(as_json=as_json)


@config.command(name="get", short_help="Show one setting.")
@click.argument("name")
@JSON
def get_setting(*, name: str, as_json: bool) -> int:
    """Show the value of the setting NAME."""
    from nuwrap.cli.config import show_setting

    return show_setting(name, as_json=as_json)


@config.command(
    name="set", short_help="Change one setting.", context_settings={"ignore_unknown_options": True}
)  # a value may be another program's flag
@click.argument("name")
@click.argument("value")
@JSON
def set_setting(*, name: str, value: str, as_json: bool) -> int:
    """Change the setting NAME to VALUE, for all runs from now on.

    A list is written a,b and a mapping a=1,b=2; "" puts a setting back to what it was from the start.
    """
    from nuwrap.cli.config import change_setting

    return change_setting(name, value, as_json=as_json)


@click.group(short_help="Keep values that nobody shall see.")
def secret() -> None:
    """Keep secrets by name, in files of yours alone. A function that names one gets its value when it runs."""


@secret.command(name="set", short_help="Keep a secret's value.")
@click.argument("name")
@click.argument("value", nargs=-1, metavar="")
@_PROJECT
@JSON
def set_secret(*, name: str, value: tuple[str, ...], project: str | None, as_json: bool) -> int:
    """Keep what standard input has as the value of the secret NAME, in place of an earlier one.

    \b
        nuwrap secret set API_KEY                  asks for it, on a terminal
        nuwrap secret set API_KEY < FILE
        printf %s "$KEY" | nuwrap secret set API_KEY

    One line break at the end is not part of the value, which never stands among the arguments.
    """  # noqa: D301 - as above
    from nuwrap.cli.secret import keep, refuse_value

    if value or "=" in name:
        raise refuse_value(name)
    return keep(project or "default", name, as_json=as_json)


@secret.command(name="ls", short_help="List the names of secrets.")
@_PROJECT
@JSON
def list_secrets(*, project: str | None, as_json: bool) -> int:
    """List the names of the project's secrets; no value is shown."""
    from nuwrap.cli.secret import show_names

    return show_names(project or "default", is_named=project is not None, as_json=as_json)


@secret.command(name="rm", short_help="Remove a secret.")
@click.argument("name")
@_PROJECT
@JSON
def remove_secret(*, name: str, project: str | None, as_json: bool) -> int:
    """Remove the secret NAME."""
    from nuwrap.cli.secret import remove

    return remove(project or "default", name, as_json=as_json)


@click.command(short_help="Tell what this machine, or a cluster, lacks.")
@click.option("--platform", type=click.Choice(["kubernetes"]), help="Look at the cluster instead of this machine.")
@click.option("--project", default="default", metavar="NAME", help="Whose namespace, where each project has one.")
@JSON
def doctor(*, platform: str | None, project: str, as_json: bool) -> int:
    """Tell what this machine has: Pythons, programs, S3, the history, the cache; for each lack what it means and the
    command that mends it.

    Of a cluster: whether it answers, your rights in the namespace, its Pod Security level, quota and limits, storage
    class, Secrets for registries, profiles. Nothing is made there, and no Secret's value is told.

    The exit code is 0 unless something is missing that every run needs; then it is 10.
    """
    from nuwrap.cli.doctor import examine, show_findings

    if platform:
        from nuwrap.cli.cluster_doctor import find_in_cluster

        return show_findings(find_in_cluster(project), as_json=as_json)
    return examine(as_json=as_json)


@click.command(short_help="Print what makes TAB complete.")
@click.argument("shell", type=click.Choice(SHELLS))
@click.option("--answer", is_flag=True, hidden=True, help="Answer the script, which gives its words as variables.")
@click.pass_context
def completion(context: click.Context, *, shell: str, answer: bool) -> int:
    """Print the script with which SHELL completes commands, options and files of nuwrap.

    \b
    In ~/.bashrc:                    source <(nuwrap completion bash)
    In ~/.zshrc, after compinit:     source <(nuwrap completion zsh)
    Once, for fish:                  nuwrap completion fish > ~/.config/fish/completions/nuwrap.fish
    """  # noqa: D301 - as above
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"this click knows no completion for {shell}")
    completer = kind(context.find_root().command, {}, "nuwrap", "NUWRAP_SHELL")  # a variable that nobody reads
    if answer:
        click.echo(completer.complete())
        return 0
    # The script is to call this command: click's own way to answer ends by SystemExit, which main.py takes for a reader
    # that is gone.
    click.echo(re.sub(r"(\$1|nuwrap)\)", rf"\1 completion {shell} --answer)", completer.source()))
    return 0


COMMANDS: tuple[click.Command, ...] = (init, check, plan, explain, schema, config, secret, doctor, completion)
