"""A user's commands as RUN lines: kept as they are, but for `apt-get install` without package lists.

Images come without lists, so such a command finds no package. What cannot be told for sure is left alone, with a note.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

UPDATE: Final = "apt-get update && "
QUIET: Final = "DEBIAN_FRONTEND"
_TOKEN = re.compile(
    r"""(?P<space>\s+)|(?P<operator>&&|\|\||;|\||&)|(?P<doubt>[()`]|\$\(|[<>]&?)"""
    r"""|(?P<word>(?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|\$(?!\()|[^\s;&|()`<>'"\\$])+)""",
    re.DOTALL,
)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_WITH_VALUE = ("-o", "-c", "-t", "--option", "--config-file", "--target-release", "--default-release")
_YES = re.compile(r"-[a-zA-Z]*(?:y|q[a-zA-Z]*q)[a-zA-Z]*$|--yes$|--assume-yes$")
_MENTIONS = re.compile(r"\bapt(?:-get)?[\"',\s].*\binstall\b")
_UPDATES = re.compile(r"\bapt(?:-get)?[\"',\s].*\bupdate\b")


@dataclass(frozen=True)
class Command:
    """A simple command of a shell's line: where it begins, the operator before it ("" at the start), its words."""

    start: int
    before: str
    words: Sequence[str]


def complete(instruction: str, *, is_quiet: bool = False) -> tuple[str, str]:
    """Return the instruction as it is run, and a note for the user, "" where nothing is to be said.

    `is_quiet` tells that DEBIAN_FRONTEND is set already.
    """
    if not _MENTIONS.search(instruction):
        return instruction, ""
    commands = _split(instruction)
    kinds = [(_apt_action(one.words), one) for one in commands]
    first = next((one for action, one in kinds if action == "install"), None)
    if first is None or any(action == "update" and one.start < first.start for action, one in kinds):
        doubtful = first is None and not _UPDATES.search(instruction)
        return instruction, "seems to install with apt-get without package lists, and is left as it is" * doubtful
    if first.before not in ("", "&&", ";"):
        return instruction, f"installs with apt-get after '{first.before}', without package lists; left as it is"
    quiet = "" if is_quiet or QUIET in instruction else f"export {QUIET}=noninteractive && "
    changed = f"{quiet}{instruction[: first.start]}{UPDATE}{instruction[first.start :]}"
    asks = "" if _says_yes(first.words) else "; without -y it ends as soon as apt-get asks"
    return changed, f"gets 'apt-get update' first, as images have no package lists{asks}"


def _split(line: str) -> list[Command]:
    """Return the line's simple commands, none when there is something in it that would need a shell to tell."""
    commands, words, start, before, position = [], list[str](), -1, "", 0
    while position < len(line):
        found = _TOKEN.match(line, position)
        if not found or found["doubt"] in ("(", ")", "`", "$("):
            return []
        if found["operator"]:
            commands.append(Command(start, before, tuple(words)))
            words, start, before = [], -1, found["operator"]
        elif found["word"]:
            start = found.start() if start < 0 else start
            words.append(found["word"])
        position = found.end()
    return [one for one in (*commands, Command(start, before, tuple(words))) if one.words]


def _apt_action(words: Sequence[str]) -> str:
    """Return `install`, `update` or whatever apt-get is asked to do by the command, "" of another program."""
    rest = _after_prefix(words)
    if not rest or posixpath.basename(rest[0]) not in ("apt-get", "apt"):
        return ""
    skip = False
    for word in rest[1:]:
        if skip or word.startswith("-"):
            skip = not skip and word in _WITH_VALUE
            continue
        return word
    return ""


def _after_prefix(words: Sequence[str]) -> Sequence[str]:
    """Return the command without assignments, `sudo` and `env` before it."""
    for index, word in enumerate(words):
        if word not in ("sudo", "env") and not _ASSIGNMENT.match(word):
            return words[index:]
    return ()


def _says_yes(words: Sequence[str]) -> bool:
    return any(_YES.match(word) or "Assume-Yes" in word or word == "--simulate" for word in words)
