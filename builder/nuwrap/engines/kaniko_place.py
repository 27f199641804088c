"""Where an executor runs, and how one build there is watched."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from nuwrap.command import Completed, Stops
from nuwrap.engines import failures
from nuwrap.engines.kaniko_room import Room, RoomFile


@dataclass(frozen=True)
class Ended:
    """How the executor has ended; `lacked_memory` where it or an instruction was killed for want of it."""

    code: int
    lacked_memory: bool = False


class Watch:
    """The stops and the time of a build, which begins now."""

    def __init__(self, stops: Stops, timeout_s: float | None) -> None:
        self.stops = stops
        self.timeout_s = timeout_s
        self._end = None if timeout_s is None else time.monotonic() + timeout_s

    @property
    def left_s(self) -> float | None:
        """The seconds that are left, never less than 0."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def check(self) -> None:
        """Raises BuildError when the build was stopped (`stopped`) or its time is over (`timeout`)."""
        if self.stops.has_come:
            raise failures.stopped()
        if self.left_s == 0.0:
            raise failures.timed_out(self.timeout_s or 0.0)


class Place(Protocol):
    """A container for one build. `name` is for messages, `has_store` tells that images can stay there."""

    room: Room
    name: str

    def ask(self, argument: str) -> Completed:
        """Return what the executor answers to a question (`version`, `--help`)."""

    def fill(self, files: Sequence[RoomFile]) -> None:
        """Put the files into the room. Raises BuildError."""

    def run(self, argv: Sequence[str], environment: Mapping[str, str], listen: Callable[[bytes], None]) -> Ended:
        """Run the executor to its end; nothing of it goes on then. Raises BuildError when it cannot begin."""

    def read(self, place: str) -> bytes:
        """Return a small file of the room. Raises BuildError when it is missing."""

    def take(self, place: str, target: str) -> None:
        """Copy a file or a folder out of the room. Raises BuildError."""

    def keep(self, archive: str, destinations: Sequence[str]) -> str:
        """Put the image into this machine's store of images and return its id. Raises BuildError where none is."""

    def close(self) -> None:
        """Remove the room and all that it was in."""
