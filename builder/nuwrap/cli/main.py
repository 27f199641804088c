"""`nuwrap`: where the command line begins and how it ends."""

from __future__ import annotations

import io
import traceback

import click

from nuwrap import __version__
from nuwrap.cli.commands import history, running, setup

STOPPED = 143


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nuwrap", message="%(prog)s %(version)s")
def cli() -> None:
    """Run a Python function as a job, as a service or as an image, and see what ran."""


for _command in (*running.COMMANDS, *history.COMMANDS, *setup.COMMANDS):
    cli.add_command(_command)


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
    except (BrokenPipeError, SystemExit):  # the latter is how click and rich say it
        return 0  # a reader that is gone has what it wanted (`nuwrap --help | head`)
    except OSError as exc:
        tell(f"nuwrap: {exc}")
    except Exception:  # noqa: BLE001 - a defect of nuwrap: whole, and with no exit code of a handler
        tell(traceback.format_exc())
    return PlatformError.exit_code


if __name__ == "__main__":
    main()
