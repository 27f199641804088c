"""Times of the history as a person reads them."""

from __future__ import annotations

from datetime import datetime, timezone

from nuwrap.store import RunRecord


def moment_text(moment: str) -> str:
    """Return a time of the history as this machine's clock has shown it; of none, nothing."""
    return f"{datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M:%S}" if moment else ""


def short_moment_text(moment: str) -> str:
    """Return the time of day for a moment of today, else the day."""
    day, _, time = moment_text(moment).partition(" ")
    return time if day == f"{datetime.now():%Y-%m-%d}" else day


def took_text(record: RunRecord) -> str:
    """Return how long the run has taken, until now when it goes on; of one that has not begun, nothing."""
    if not record.started:
        return ""
    end = datetime.fromisoformat(record.finished) if record.finished else datetime.now(timezone.utc)
    return duration_text((end - datetime.fromisoformat(record.started)).total_seconds())


def duration_text(seconds: float) -> str:
    """Return a time span in the unit that a person would take."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
