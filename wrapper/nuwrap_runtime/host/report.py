"""What a person sees while a start is under way: one line a phase with its seconds, on standard error.

With `json_lines` each line is one JSON object, `{"event": "phase" | "log" | "note", …}`.
"""

from __future__ import annotations

import datetime
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Callable

from nuwrap_runtime.host.process import mask, mask_all


class Report:
    """The running account of one start: seconds of each phase, warnings, and their lines."""

    def __init__(
        self,
        *,
        json_lines: bool = False,
        secrets: Sequence[str] = (),
        on_phase: Callable[[str], None] = lambda _phase: None,
    ) -> None:
        self.seconds: dict[str, float] = {}
        self.warnings: list[str] = []
        self.secrets = tuple(secrets)
        self.phase = "launch"
        self.on_phase = on_phase
        self.is_json = json_lines
        self._begin = time.perf_counter()

    @contextmanager
    def timed(self, phase: str) -> Iterator[list[str]]:
        """Time a phase; what the body puts into the list is the line's detail."""
        self.phase = phase
        self.on_phase(phase)
        begin = time.perf_counter()
        detail: list[str] = []
        try:
            yield detail
        finally:
            self.seconds[phase] = round(time.perf_counter() - begin, 4)
        self.line(phase, self.seconds[phase], " ".join(detail))

    def add_seconds(self, seconds: Mapping[str, float]) -> None:
        """Take over what the worker measured itself."""
        for phase, value in seconds.items():
            self.seconds[phase] = round(value, 4)
            self.line(phase, self.seconds[phase], "")

    def line(self, phase: str, seconds: float, detail: str) -> None:
        """Print a phase that is over, or the whole."""
        self._print(
            {"event": "phase", "phase": phase, "seconds": seconds, "detail": detail},
            f"{phase:<13}{seconds:8.2f} s  {detail}".rstrip(),
        )

    def note(self, text: str) -> None:
        """Print what goes on inside a phase."""
        self._print({"event": "note", "phase": self.phase, "message": text}, f"{self.phase:<13}{'':10}  {text}")

    def warn(self, text: str) -> None:
        """Print a warning and keep it for the result."""
        self.warnings.append(text)
        self._print({"event": "warning", "message": text}, f"warning: {text}")

    def log(self, record: Mapping[str, Any]) -> None:
        """Print a record of the user's `context.logger`."""
        given = record.get("with")
        fields = dict(given) if isinstance(given, dict) else {}  # it may be written by the user's code, on our socket
        traceback = fields.pop("traceback", "")
        if record.get("request_id"):
            fields["request_id"] = record["request_id"]
        more = f"  {json.dumps(fields, ensure_ascii=False)}" if fields else ""
        more += f"\n{str(traceback).rstrip()}" if traceback else ""
        text = f"[{record.get('level', 'info')}] {record.get('message', '')}{more}"
        self._print({**record, "event": "log"}, text)

    def tell(self, event: str, text: str, **fields: Any) -> None:
        """Print what happened to a service: the text for a person, text and fields for a machine."""
        self._print({"event": event, "message": text, **fields}, text)

    def error(self, text: str) -> None:
        """Print why the start ends."""
        self._print({"event": "error", "phase": self.phase, "message": text}, f"error: {text}")

    def total(self) -> float:
        """Return the seconds since the start."""
        return round(time.perf_counter() - self._begin, 4)

    def _print(self, record: Mapping[str, Any], text: str) -> None:
        if self.is_json:  # masked before JSON escapes what is in a secret
            stamped = {"datetime": datetime_now(), **record}
            line = json.dumps(mask_all(stamped, self.secrets), default=repr)
        else:
            line = "nuwrap  " + plain(mask(text, self.secrets))
        try:
            sys.stderr.write(line + "\n")
        except (OSError, ValueError, AttributeError):  # nobody listens any more, or never did; the run goes on
            pass


def counted(number: int, noun: str) -> str:
    """Return `1 request`, `2 requests`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def datetime_now() -> str:
    """Return the moment as a log record has it: ISO 8601, UTC, milliseconds."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")


def plain(text: str) -> str:
    """Return the text without control characters: an escape sequence of a server or a file is shown, not obeyed.

    What follows a line break is indented, so that no line of it looks like one of ours.
    """
    lines = ("".join(char if char.isprintable() else repr(char)[1:-1] for char in line) for line in text.split("\n"))
    return "\n    ".join(lines)
