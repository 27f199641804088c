r"""From checked values to the text of a Dockerfile.

How a Dockerfile is read, so what a value could do to it (moby/buildkit, frontend/dockerfile): `parser/parser.go` takes
a file line by line, joins a line that ends with `\` to the next, and takes the lines after a RUN with `<<WORD` as its
input; a first comment `# name=value` is a directive. `parser/split_command.go` takes words with `--` after RUN for its
options. `shell/lex.go` replaces `$NAME` in ENV and LABEL, between double quotes too, where `\` escapes `"`, `$` and
itself. A line has 65,535 bytes at most. kaniko uses the same packages.

So every value stands on one line, each in the one form that is taken literally; what has none is refused.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nuwrap.errors import SpecError
from nuwrap.plan import rendering
from nuwrap.spec.build import CODE, RECORDS, TREE, Step
from nuwrap_runtime.schema import is_text, show

TEMPLATE: Final = "Dockerfile.j2"
LINE_BYTES: Final = 65_535
PYTHON_PLACE: Final = "/opt/python"
_CARRIED_OUT = ("COPY ", "FROM ", "RUN ", "WORKDIR ")
# Bytecode is believed without a look at its source, and made once: a user without rights cannot, at each start.
HOST = f"{TREE}/bin/nuwrap-host"
_COMPILE = f'["{HOST}", "compile"]'  # bytecode of the base's standard library and of our tree
_CONSTANT: Mapping[str, Any] = {
    "places": {"tree": TREE, "code": CODE, "records": RECORDS},
    "writable": "/work /cache /tmp",
    "compile": _COMPILE,
    "python_bin": f"{PYTHON_PLACE}/current/bin",
}
_FOREIGN = ("Cc", "Cs", "Zl", "Zp")  # control characters, half characters, line and paragraph separators
_HERE_DOCUMENT = re.compile(r"(?<!<)<<(?!<)|<{4,}")


@dataclass(frozen=True)
class Sheet:
    """What a Dockerfile says.

    `clears_code` tells that the base has another function's code. `names_user` names the user, who may have no entry
    in /etc/passwd. `python_check` and `python_install` are commands, "" for none. `early_envs` stay and are set before
    the instructions, `late_envs` after them. `install` is the command of the requirements, empty for none. `mounts`
    and `install_mounts` stand before each instruction and before `install`. `entrypoint` with `command` is what the
    image starts by itself.
    """

    base: str
    user: int
    group: int
    runtime: str = ""
    python_check: str = ""
    python_install: str = ""
    clears_code: bool = False
    names_user: bool = False
    early_envs: Sequence[tuple[str, str]] = ()
    build_envs: Sequence[str] = ()
    mounts: str = ""
    instructions: Sequence[str] = ()
    install: Sequence[str] = ()
    install_mounts: str = ""
    copies_wheels: bool = False
    late_envs: Sequence[tuple[str, str]] = ()
    labels: Sequence[tuple[str, str]] = ()
    entrypoint: Sequence[str] = (HOST,)
    command: Sequence[str] = ("job",)


def render(sheet: Sheet) -> str:
    """Return the Dockerfile. Raises SpecError for a value that no line can hold; callers name the field before."""
    values = {name: getattr(sheet, name) for name in Sheet.__dataclass_fields__}
    text = rendering.render(TEMPLATE, {**values, **_CONSTANT}, check=_check, quoted=quote_value)
    for line in text.split("\n"):
        if len(line.encode("utf-8")) > LINE_BYTES:
            raise SpecError(
                f"the Dockerfile's line {show(line)} has more than {LINE_BYTES} bytes; engines take no more"
            )
    return text


def read_steps(dockerfile: str) -> list[Step]:
    """Return the lines that an engine carries out, each under the input it stands for."""
    key, steps = "", []
    for line in dockerfile.split("\n"):
        if line.startswith("# "):
            key = line[2:]
        elif line.startswith(_CARRIED_OUT):
            steps.append(Step(key, line))
    return steps


def line_fault(text: str) -> str:
    """Return why the text cannot stand on one line, "" when it can. A tab may stand anywhere."""
    if not is_text(text):
        return "is no text"
    wrong = next((char for char in text if char != "\t" and unicodedata.category(char) in _FOREIGN), "")
    return f"holds the character U+{ord(wrong):04X}, which no line of a Dockerfile may have" if wrong else ""


def command_fault(text: str) -> str:
    """Return why the text cannot be the command of a RUN line, "" when it can."""
    if not text.strip():
        return "is empty"
    if text.rstrip().endswith("\\"):
        return "ends with a backslash, which takes the next line of the Dockerfile in"
    if text.lstrip().startswith("--"):
        return "begins with '--', which a Dockerfile takes for an option of RUN"
    if _HERE_DOCUMENT.search(text):
        return "holds '<<', which takes the next lines of the Dockerfile as input; use printf '...' | COMMAND"
    return line_fault(text)


def quote_value(text: str) -> str:
    """Return the text as the value of an ENV or a LABEL, taken literally. Raises SpecError; see `line_fault`."""
    fault = line_fault(text)
    if fault:
        raise SpecError(f"{show(text)} {fault}")
    return '"' + re.sub(r'([\\"$])', r"\\\1", text) + '"'


def _check(value: Any) -> Any:
    """Refuse whatever would break a line, be it checked before or not."""
    fault = line_fault(value) if isinstance(value, str) else ""
    if fault:
        raise SpecError(f"{show(value)} {fault}")
    return value
