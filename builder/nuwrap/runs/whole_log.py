"""The whole log of a run of which the platform did not give all: from where its host has kept it (`keep_log`)."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from nuwrap.errors import NuwrapError
from nuwrap.platforms.run_folder import LOG, LOST_LINES
from nuwrap.runs.collect import result_place
from nuwrap.runs.transfer import copy
from nuwrap.store import RunRecord
from nuwrap_runtime.result_lines import LOG_FOLDER, LOG_PART

WHOLE: Final = "whole-log.txt"
MOST_BYTES: Final = 1024**3  # of a log that is fetched without being asked for
PARTS, FETCHED = "left-parts", "left"  # while they are put together


def log_path(folder: str) -> str:
    """Return the file that has most of what a run that has ended has printed."""
    whole = os.path.join(folder, WHOLE)
    return whole if os.path.exists(whole) else os.path.join(folder, LOG)


def complete(record: RunRecord, say: Callable[[str], None]) -> None:
    """Make the run's log whole where lines of it are missing here, or say where all of it is."""
    noted = os.path.join(record.folder, LOST_LINES)
    try:
        with open(noted, encoding="ascii") as stream:
            lost: Mapping[str, Any] = json.load(stream)
    except FileNotFoundError:
        return
    address = f"{result_place(record).address}{LOG_FOLDER}/"
    if not address.startswith("s3://") or lost["bytes"] > MOST_BYTES:
        say(f"all of the log is in {address}")
        return
    try:
        _put_together(record.folder, _fetch(record.folder, address), lost)
        os.unlink(noted)
    except (NuwrapError, OSError) as exc:
        say(f"all of the log is in {address}, and cannot be fetched: {exc}")
        return
    say(f"all of the log was fetched from {address}; `nuwrap logs {record.id[:8]}` has it")


def fetch_left(record: RunRecord, name: str) -> str:
    """See `Screen.fetch_left`."""
    address = result_place(record).address + name
    if not address.startswith("s3://"):
        return ""
    try:
        return _fetch(record.folder, address)
    except (NuwrapError, OSError):  # there is none, or it is not reached: the cluster has some of it
        return ""


def _fetch(folder: str, address: str) -> str:
    """Return the path of a file with what is at the address, of a folder all parts of a log in their order.

    Raises NuwrapError, OSError.
    """
    parts, made = os.path.join(folder, PARTS), os.path.join(folder, FETCHED)
    shutil.rmtree(parts, ignore_errors=True)  # of one who was killed
    try:
        copy(address, parts, max_bytes=MOST_BYTES)
        names = [parts]
        if address.endswith("/"):
            names = [os.path.join(parts, name) for name in sorted(os.listdir(parts)) if LOG_PART.fullmatch(name)]
        with open(made, "wb") as whole:
            os.fchmod(whole.fileno(), 0o600)
            for name in names:
                with open(name, "rb") as part:
                    shutil.copyfileobj(part, whole)
    finally:
        shutil.rmtree(parts, ignore_errors=True)
        with suppress(OSError):
            os.unlink(parts)
    return made


def _put_together(folder: str, kept: str, lost: Mapping[str, Any]) -> None:
    """Write what came before the kept lines, those, and what came after them."""
    made = os.path.join(folder, f"{WHOLE}.part")
    try:
        with open(os.path.join(folder, LOG), "rb") as log, open(kept, "rb") as middle, open(made, "wb") as whole:
            os.fchmod(whole.fileno(), 0o600)
            whole.write(log.read(lost["begin"]))
            shutil.copyfileobj(middle, whole)
            log.seek(lost["end"])
            shutil.copyfileobj(log, whole)
        os.replace(made, os.path.join(folder, WHOLE))
    finally:
        for path in (made, kept):
            with suppress(FileNotFoundError):
                os.unlink(path)
