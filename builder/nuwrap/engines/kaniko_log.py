"""Read the executor's log as it comes: its own lines, in any of its formats, between what instructions print.

Progress alone is made of it. Any instruction can print what looks like a line of kaniko's, so no digest is taken from
here. Messages: osscontainertools/kaniko pkg/executor/build.go and push.go, pkg/commands, pkg/image.
"""

from __future__ import annotations

import json
import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from nuwrap.spec.build import Event, Step

LAST_LINES: Final = 20
LINE_BYTES: Final = 64 * 1024  # of a longer line the rest is another line

_JSON: Final = re.compile(r'\{"level":"')
_TEXT: Final = re.compile(r'time="[^"]*" level=(\w+) msg=(?:"((?:[^"\\]|\\.)*)"|(\S*))')
_SHORT: Final = re.compile(r"(TRAC|DEBU|INFO|WARN|ERRO|FATA|PANI)[A-Z]*\[\d+\] (.*)")  # with colour, or on a terminal
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_LEVELS: Final = {"WARN": "warning", "ERRO": "error", "FATA": "fatal", "PANI": "panic"}
_HIT, _MISS = "Using caching version of cmd: ", "No cached layer found for cmd "
_RETRY: Final = "Retrying operation after "
_FOUND: Final = "Found cached layer"
_PULL: Final = re.compile(r"(?:Retrieving image manifest|Building stage) '?([^' ]+)")
_PUSH: Final = re.compile(r"Push(?:ing image to|ed) (\S+)")
_IMAGE: Final = re.compile(r"FROM\s+(?:--\S+\s+)*(\S+)")


@dataclass(frozen=True)
class Line:
    """A line of the log: `level` is "" for what an instruction printed, and for the executor's last words."""

    text: str
    level: str = ""


def read_line(text: str) -> Line:
    """Return what a line says, whatever its form; never raises."""
    at = _JSON.search(text)
    if at:
        try:
            found, _ = json.JSONDecoder().raw_decode(text, at.start())
            return Line(str(found["msg"]), str(found["level"]))
        except (ValueError, KeyError):
            return Line(text.rstrip())
    plain = _COLOUR.sub("", text).rstrip()
    short = _SHORT.match(plain)
    if short:
        return Line(short[2], _LEVELS.get(short[1], short[1].lower()))
    full = _TEXT.match(plain)
    if full:
        return Line(_unquote(full[2]) if full[3] is None else full[3], full[1])
    return Line(plain)


def _unquote(text: str) -> str:
    r"""Undo Go's quotes; what JSON does not know of them (`\x1b`) stays as it is."""
    try:
        return str(json.loads(f'"{text}"'))
    except ValueError:
        return text


class Log:
    """What a build has come to, by its log.

    `step` is the number of the step that runs, 0 before the first; `last` are the last lines that are no progress of
    kaniko's: what the instruction printed, warnings, the reason of a failure.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        destinations: Sequence[str],
        report: Callable[[Event], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.step = 0
        self.last: deque[str] = deque(maxlen=LAST_LINES)
        self._steps = [_normal(one.text) for one in steps]
        self._keys = steps
        self._destinations = frozenset(destinations)
        self._repositories = {_repository(name) for name in destinations}
        self._report = report
        self._clock = clock
        self._began = clock()
        self._left = b""
        self._hits: dict[str, bool] = {}
        self._cached: bool | None = None
        self._told: set[str] = set()

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        *lines, self._left = (self._left + data).split(b"\n")
        while len(self._left) > LINE_BYTES:
            lines.append(self._left[:LINE_BYTES])
            self._left = self._left[LINE_BYTES:]
        for line in lines:
            self._take(read_line(line.decode("utf-8", "replace")))

    def end(self, *, is_done: bool) -> None:
        """Take what has no newline; `is_done` says that the step that runs has ended well."""
        if self._left:
            self._take(read_line(self._left.decode("utf-8", "replace")))
            self._left = b""
        if is_done:
            self._finish()

    def _take(self, line: Line) -> None:
        if not line.level:
            self.last.extend([line.text] if line.text else [])
        elif line.level in _LEVELS.values():
            if not line.text.startswith(_RETRY):  # the last words have its reason
                self.last.append(line.text)
            self._note(line.text)
        else:
            self._follow(line.text)

    def _follow(self, text: str) -> None:
        for start, is_hit in ((_HIT, True), (_MISS, False)):
            if text.startswith(start):
                self._hits[_normal(text.removeprefix(start))] = is_hit
                return
        if text.startswith(_FOUND):
            self._cached = True
        pulled, pushed = _PULL.match(text), _PUSH.match(text)
        if pulled:
            self._pull(pulled[1])
        elif pushed:
            self._push(pushed[1], text)
        else:
            self._begin(_normal(text))

    def _pull(self, image: str) -> None:
        """Begin the step that brings this image; kaniko names one again and again."""
        for number, text in enumerate(self._steps[self.step :], self.step + 1):
            found = _IMAGE.match(text)
            if not found:
                return
            if found[1] == image:
                self._start(number)
                return

    def _begin(self, text: str) -> None:
        if text in self._steps[self.step :]:
            self._start(self._steps.index(text, self.step) + 1)

    def _start(self, number: int) -> None:
        self._finish()
        self.step = number
        self._began = self._clock()
        text = self._steps[number - 1]
        self._cached = None if _IMAGE.match(text) else self._hits.get(text, False)
        self._report(Event("step", self._keys[number - 1].text, number, len(self._steps)))

    def _finish(self) -> None:
        if self.step and f"done {self.step}" not in self._told:
            self._told.add(f"done {self.step}")
            text, seconds = self._keys[self.step - 1].text, self._clock() - self._began
            self._report(Event("done", text, self.step, len(self._steps), seconds, self._cached))

    def _push(self, name: str, text: str) -> None:
        """Tell of the image's own pushes; layers go to the cache by the same words, while steps run."""
        if name in self._destinations:
            self._finish()
            self._report(Event("push", text))
        elif "@" in name and name.partition("@")[0] in self._repositories:
            self._report(Event("push", text))

    def _note(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._report(Event("note", f"kaniko: {text}"))


def _repository(name: str) -> str:
    head, slash, last = name.partition("@")[0].rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


def _normal(text: str) -> str:
    r"""Return an instruction as both sides have it: kaniko joins lines that end with `\` and keeps the blanks."""
    return " ".join(text.replace("\\\n", " ").split())
