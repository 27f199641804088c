"""The steps of a build as a person watches them: `step 3/7 requirements  cached` and how long each took."""

from __future__ import annotations

import time
from typing import TextIO

from nuwrap.spec.build import Built, Event
from nuwrap.text import escape

TEXT_CHARACTERS = 90


class Progress:
    """What an engine reports to. `seconds` has what each step took, `step 3` by its number."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._began = time.monotonic()
        self.seconds: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        """Tell it: a step with what became of it, once; all else as it is."""
        if event.kind == "step":
            self._say(f"step {event.number}/{event.total} {_cut(event.text)}")
        elif event.kind == "done":
            self._say(f"step {event.number}/{event.total} {_outcome(event)}")
            if event.seconds is not None:
                self.seconds[f"step {event.number}"] = event.seconds
        else:
            self.note(event.text)

    def note(self, text: str) -> None:
        """Tell a person a sentence."""
        self._say(text)

    def end(self, built: Built) -> None:
        """Tell what was made."""
        pushed = "" if built.pushed_bytes is None else f", {built.pushed_bytes:,} bytes pushed"
        self._say(f"built {built.pinned} in {time.monotonic() - self._began:.1f} s{pushed}")

    def _say(self, text: str) -> None:
        print(f"nuwrap  build: {escape(text)}", file=self._stream, flush=True)


def _outcome(event: Event) -> str:
    took = "" if event.seconds is None else f" in {event.seconds:.1f} s"
    return "from the cache" if event.cache else f"done{took}"


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= TEXT_CHARACTERS else f"{line[:TEXT_CHARACTERS]}…"
