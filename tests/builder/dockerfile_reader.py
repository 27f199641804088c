"""A Dockerfile as an engine reads it: moby/buildkit 73ed6825c, `frontend/dockerfile/parser` and `/shell`, by hand.

Written from `parser.go` (lines, continuation, here-documents), `split_command.go` (options), `line_parsers.go` (words)
and `lex.go` (quotes, variables); the stricter rule where versions differ. `test_dockerfile_safety.py` holds it against
the real thing where there is one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

CONTINUES = re.compile(r"\\[ \t]*$")
HERE_DOCUMENT = re.compile(r"^(\d*)<<(-?)\s*([^<]+)$")
DIRECTIVE = re.compile(r"^#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$")


@dataclass(frozen=True)
class Line:
    """An instruction with its options, what follows them, and the lines that it has taken as input."""

    name: str
    options: tuple[str, ...]
    rest: str
    taken: tuple[str, ...] = ()

    @property
    def command(self) -> str | list[str]:
        """What RUN, CMD or ENTRYPOINT carry out: a list, or a text for the shell."""
        try:
            found = json.loads(self.rest) if self.rest.startswith("[") else None
        except ValueError:
            found = None
        return found if isinstance(found, list) else self.rest

    def pairs(self, variables: Mapping[str, str]) -> dict[str, str]:
        """What ENV or LABEL set."""
        words = split_words(self.rest)
        assert words, self
        assert all("=" in word for word in words), self
        split = [word.split("=", 1) for word in words]
        return {expand(name, variables): expand(value, variables) for name, value in split}


def read(text: str) -> list[Line]:
    """The file's instructions; a parser directive is one by the name `#`."""
    assert len(max(text.split("\n"), key=len).encode()) <= 65535
    lines, found, at_top = text.split("\n"), list[Line](), True
    while lines:
        line = lines.pop(0).removesuffix("\r").lstrip()
        directive = DIRECTIVE.match(line) if at_top else None
        if directive:
            found.append(Line("#", (), directive[0]))
            continue
        at_top = False
        if not line or line.startswith("#"):
            continue
        while CONTINUES.search(line) and lines:
            following = lines.pop(0)
            line = CONTINUES.sub("", line) + ("" if following.lstrip().startswith("#") else following)
        found.append(_instruction(line, lines))
    return found


def _instruction(line: str, lines: list[str]) -> Line:
    name, _, rest = re.sub(r"[\t\v\f\r ]+", " ", line.strip(), count=1).partition(" ")
    options, rest = _split_options(rest)
    read_line = Line(name.upper(), tuple(options), rest.strip())
    taken = []
    if read_line.name in ("RUN", "COPY", "ADD") and not isinstance(read_line.command, list):
        for word in split_words(rest, is_raw=False):
            document = HERE_DOCUMENT.match(word)
            if document:
                end = expand(document[3], {})
                while lines and lines[0] != end:
                    taken.append(lines.pop(0))
                assert lines, f"the here-document {end!r} does not end"
                lines.pop(0)
                taken.append(end)
    return Line(read_line.name, read_line.options, read_line.rest, tuple(taken))


def _split_options(rest: str) -> tuple[list[str], str]:
    options = []
    rest = rest.lstrip()
    while rest.startswith("--"):
        word = re.match(r"(?:\\.|\"(?:\\.|[^\"])*\"|'[^']*'|\S)+", rest)
        assert word
        options.append(word[0])
        rest = rest[word.end() :].lstrip()
    return options, rest


def split_words(text: str, *, is_raw: bool = True) -> list[str]:
    """Words with their quotes; a backslash takes the next character along, but for single quotes."""
    form = r"(?:\\.|\"(?:\\.|[^\"\\])*(?:\"|$)|'[^']*(?:'|$)|[^\s\\'\"])+" if is_raw else r"(?:\\.|\S)+"
    return re.findall(form, text, re.DOTALL)


def expand(word: str, variables: Mapping[str, str]) -> str:
    """The word without quotes and escapes, and with its variables."""
    found, quote, position = [], "", 0
    while position < len(word):
        char = word[position]
        position += 1
        following = word[position : position + 1]
        if quote == "'":
            quote, char = ("", "") if char == "'" else (quote, char)
        elif char == "\\" and (not quote or following in ('"', "$", "\\")):
            char = following
            position += 1
        elif char in ("'", '"') and (not quote or char == quote):
            quote, char = ("" if quote else char), ""
        elif char == "$":
            name = re.compile(r"\{(\w+)[^}]*\}|([A-Za-z_]\w*|\d)").match(word, position)
            assert name or following != "{", f"{word!r} is no substitution"
            if name:
                char = variables.get(name[1] or name[2], "")
                position = name.end()
        found.append(char)
    assert not quote, f"{word!r} has an open quote"
    return "".join(found)
