"""`nuwrap secret`: secrets by name. A value comes from a pipe or a hidden prompt, and is never printed."""

from __future__ import annotations

import getpass
import json
import sys
from contextlib import suppress

from nuwrap.cli.show import show_rows
from nuwrap.cli.terminal import tell
from nuwrap.errors import UsageError
from nuwrap.sdk import context
from nuwrap.sdk.secrets import delete_secret, list_secrets, new_secret
from nuwrap.store.secrets import VALUE_BYTES

LINE_BREAKS = (b"\r\n", b"\n")


def keep(project: str, name: str, *, as_json: bool) -> int:
    """Keep what standard input has as the secret's value; a person at a terminal is asked for it.

    One line break at the end is not part of it: `echo` and editors put it there. Raises UsageError when there is no
    value, or none that can be kept.
    """
    value = _ask(name) if sys.stdin.isatty() else _read(name)
    if not value:
        raise UsageError(
            f"secret {name!r}: there is no value; pipe it in, as `nuwrap secret set {name} < FILE` does, or be asked "
            "for it on a terminal"
        )
    new_secret(project, name, value)
    _told(f"secret {name!r} of project {project!r} is set", project, name, as_json=as_json)
    return 0


def show_names(project: str, *, is_named: bool, as_json: bool) -> int:
    """Print the names of the project's secrets. Raises NotFound for a project that `is_named` and that is not there."""
    if is_named:
        context.find_project(project)
    names = [one.name for one in list_secrets(project)]
    if as_json:
        print(json.dumps({"project": project, "secrets": names}))
    else:
        count = f"{len(names)} secret{'' if len(names) == 1 else 's'}"
        show_rows(("name",), [(name,) for name in names], f"{count} of project {project!r}")
    return 0


def remove(project: str, name: str, *, as_json: bool) -> int:
    """Remove the secret. Raises NotFound naming what is there."""
    delete_secret(name, project)
    _told(f"secret {name!r} of project {project!r} is gone", project, name, as_json=as_json)
    return 0


def refuse_value(name: str) -> UsageError:
    """Return the error for a value among the arguments, which it does not quote."""
    shown = name.partition("=")[0]
    return UsageError(
        f"a value of secret {shown!r} is not taken from the command line: the shell keeps it, and each process of this "
        f"machine can read it. Pipe it in, as `nuwrap secret set {shown} < FILE` does, or leave it out and be asked"
    )


def _ask(name: str) -> str:
    with suppress(EOFError):  # Ctrl-D
        return getpass.getpass(f"value of secret {name}: ")
    return ""


def _read(name: str) -> str:
    content = sys.stdin.buffer.read(VALUE_BYTES + len(LINE_BREAKS[0]) + 1)
    for end in LINE_BREAKS:
        if content.endswith(end):
            content = content[: -len(end)]
            break
    if len(content) > VALUE_BYTES:
        raise UsageError(f"the value of secret {name!r} has more than {VALUE_BYTES} bytes, which is what is allowed")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"the value of secret {name!r} is no UTF-8 text; keep bytes as base64") from None


def _told(text: str, project: str, name: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"project": project, "secret": name}))
    else:
        tell(f"nuwrap: {text}")
