"""The plain log of BuildKit (`--progress=plain`) read as it comes: which step of the plan runs, and how it ended.

A vertex is `#7`: its first line names it (`#7 [stage-0 3/6] RUN …`), the others are its output and its end. Output
without a last newline stands before the end (`#7 0.2 text#7 DONE 0.3s`), and the name comes again when the log turns
back to a vertex.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from nuwrap.engines.failures import LINE_CHARACTERS, LINES, Place
from nuwrap.spec.build import Event, Step

_LINE: Final = re.compile(r"#(\d+) (.*)")
_STEP: Final = re.compile(r"\[(?:\S+ )?(\d+)/(\d+)\] (\S+)")
_END: Final = re.compile(r"(?:^|#(\d+) )(?:DONE (\d+(?:\.\d+)?)s|(CACHED)|(CANCELED)|ERROR:? ?(.*))$")
_OUTPUT: Final = re.compile(r"\d+\.\d+ (.*)")
_FOLLOWS: Final = ("sha256:", "transferring ", "resolve ", "extracting ", "exporting ", "writing ", "naming ")
_CACHES: Final = ("importing cache ", "exporting cache ")
UNTOLD: Final = 4000  # of a line without an end


@dataclass
class _Vertex:
    """What is known of one of BuildKit's steps. `number` counts the plan's steps, 0 is none of them."""

    name: str
    number: int = 0
    has_ended: bool = False
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=LINES))


class BuildLog:
    """A log that is being written. `failed` is the step that ended it, `last_lines` what was said there."""

    def __init__(self, steps: Sequence[Step], report: Callable[[Event], None]) -> None:
        self._steps = steps
        self._report = report
        self._shifts = (1,) if steps and steps[0].text == "FROM scratch" else (0,)
        self._vertices: dict[str, _Vertex] = {}
        self._current: _Vertex | None = None
        self._failed: _Vertex | None = None
        self._tail: deque[str] = deque(maxlen=LINES)
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take what was printed; a line counts when it is whole."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line.decode("utf-8", "replace").rstrip("\r"))
        self._rest = self._rest[-UNTOLD:]

    def end(self) -> None:
        """Take the last line though it has no end."""
        if self._rest:
            self.feed(b"\n")

    @property
    def place(self) -> Place:
        """Where the build has failed, or is."""
        vertex = self._failed or self._current
        if not vertex:
            return Place()
        if vertex.number:
            return Place(self._steps[vertex.number - 1], vertex.number, len(self._steps))
        is_image = " metadata for " in vertex.name or vertex.name.startswith("FROM ")
        return Place(subject=vertex.name.rpartition(" ")[2] if is_image else "")

    @property
    def last_lines(self) -> list[str]:
        """The last lines of the step that failed, of the whole log when none did."""
        vertex = self._failed
        return list(vertex.lines if vertex and vertex.lines else self._tail)

    def _take(self, line: str) -> None:
        if line.strip("-"):
            self._tail.append(line[:LINE_CHARACTERS])
        found = _LINE.fullmatch(line)
        if not found:
            return
        vertex = self._vertices.get(found[1])
        if vertex is None:
            self._begin(found[1], found[2])
        else:
            self._current = vertex
            self._go_on(vertex, found[1], found[2])

    def _begin(self, key: str, name: str) -> None:
        vertex = self._vertices[key] = self._current = _Vertex(name, self._number(name))
        if vertex.number:
            self._tell("step", vertex)

    def _number(self, name: str) -> int:
        """Return which of the plan's steps this is: BuildKit counts the same, but for a `FROM scratch`."""
        found = _STEP.match(name)
        if not found:
            return 0
        shift = len(self._steps) - int(found[2])
        number = int(found[1]) + shift
        if shift not in self._shifts or not 1 <= number <= len(self._steps):
            return 0
        return number if self._steps[number - 1].text.split(" ", 1)[0] == found[3].upper() else 0

    def _go_on(self, vertex: _Vertex, key: str, text: str) -> None:
        end = _END.search(text)
        if not end or end[1] not in (None, key) or vertex.has_ended:
            if text != vertex.name and not text.startswith(_FOLLOWS):
                self._keep(vertex, text)
            return
        before = text[: end.start()]
        if before:
            self._keep(vertex, before)
        vertex.has_ended = True
        if end[5] is not None:
            self._fail(vertex, end[5])
        elif vertex.number and not end[4]:
            self._tell("done", vertex, seconds=float(end[2]) if end[2] else None, cache=bool(end[3]))

    def _fail(self, vertex: _Vertex, reason: str) -> None:
        """Take a failure; without its cache a build goes on, and the first has none yet."""
        vertex.lines.append(f"ERROR: {reason}"[:LINE_CHARACTERS])
        if not vertex.name.startswith(_CACHES):
            self._failed = self._failed or vertex
        elif not reason.endswith("not found"):
            self._report(Event("note", f"{vertex.name} has failed: {reason}"[:LINE_CHARACTERS]))

    def _keep(self, vertex: _Vertex, text: str) -> None:
        found = _OUTPUT.fullmatch(text)
        vertex.lines.append((found[1] if found else text)[:LINE_CHARACTERS])

    def _tell(self, kind: str, vertex: _Vertex, *, seconds: float | None = None, cache: bool | None = None) -> None:
        step = self._steps[vertex.number - 1]
        self._report(Event(kind, step.text, vertex.number, len(self._steps), seconds, cache))
