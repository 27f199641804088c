"""`nuwrap`: the commands and their options. What a command needs is imported when it runs, so that help is instant."""

from __future__ import annotations

import io
import traceback
from typing import Any

import click

from nuwrap import __version__

STOPPED = 143


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nuwrap", message="%(prog)s %(version)s")
def cli() -> None:
    """Run a Python function as a job on this machine."""


@cli.command(short_help="Run a function once, as a job.")
@click.argument("file", metavar="FILE")
@click.option("-p", "--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter of the handler.")
@click.option("-i", "--input", "inputs", multiple=True, metavar="NAME=PATH", help="An input: a path or an address.")
@click.option("--init-param", "init_params", multiple=True, metavar="NAME=VALUE", help="A parameter of init_function.")
@click.option("--timeout-s", type=float, metavar="N", help="Longest time of the handler's call, in seconds.")
@click.option("--python", default="", metavar="PATH", help="The interpreter, instead of the one of python_version.")
@click.option("--env", "envs", multiple=True, metavar="NAME=VALUE", help="A variable of the function's environment.")
@click.option(
    "--secret", "secrets", multiple=True, metavar="NAME", help="A secret; its value is that variable's, here."
)
@click.option("--refresh", is_flag=True, help="Resolve the requirements anew.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the result document, and nothing else, to standard output."
)
def run(**options: Any) -> int:
    """Run the function of FILE, a YAML file or a folder with a function.yaml, once on this machine.

    A VALUE is JSON where it reads as JSON (0.5, true, [1, 2]), else text; write -p 'version="1.10"' for a text that
    reads as a number. What the run leaves behind is in .nuwrap/runs/<id>/. The exit code is the run's: 0 done,
    1 the handler raised, 2 usage, 3 source, 4 requirements, 5 load, 6 init, 7 inputs, 8 outputs, 9 ended without an
    answer, 10 platform, 124 time-out, 143 stopped.
    """
    from nuwrap.cli.run import Options, run_function

    return run_function(Options(**options))


def main() -> None:
    """Run the command line and exit; what nuwrap refuses is one message on standard error and its exit code.

    Exit code 1 is the handler's alone.
    """
    from nuwrap.cli.terminal import Stopped, leave, prepare, tell

    try:
        prepare()
        code = _run_command()
    except Stopped:
        tell("nuwrap: stopped before it began")
        code = STOPPED
    leave(code)


def _run_command() -> int:
    from nuwrap.cli.terminal import tell
    from nuwrap.errors import NuwrapError, PlatformError

    try:
        return int(cli.main(prog_name="nuwrap", standalone_mode=False) or 0)
    except click.ClickException as exc:
        text = io.StringIO()
        exc.show(file=text)
        tell(text.getvalue())
        return exc.exit_code
    except NuwrapError as exc:
        tell(f"nuwrap: {exc}")
        return exc.exit_code
    except OSError as exc:
        tell(f"nuwrap: {exc}")
    except SystemExit:  # click's answer to a reader that is gone (`nuwrap --help | true`)
        tell("nuwrap: cannot print to standard output")
    except Exception:  # noqa: BLE001 - a defect of nuwrap: whole, and with no exit code of a handler
        tell(traceback.format_exc())
    return PlatformError.exit_code


if __name__ == "__main__":
    main()
