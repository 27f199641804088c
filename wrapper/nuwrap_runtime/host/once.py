"""`prepare` once for all workers of a processor: they start at the same time, and again after a time-out of its own.

workers.lock   held by the one that prepares; the others wait
workers.json   how it went: what a worker is started with, or why none can be
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
import tempfile
import traceback
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Optional

from nuwrap_runtime import __version__
from nuwrap_runtime.errors import NuwrapError, PlatformError, Stopped
from nuwrap_runtime.host.becoming import failure_of
from nuwrap_runtime.host.holds import hold
from nuwrap_runtime.host.prepare import prepare
from nuwrap_runtime.host.process import mask
from nuwrap_runtime.host.report import Report
from nuwrap_runtime.host.workspace import PREFIX, Workspace, open_workspace, read_regular, write_whole
from nuwrap_runtime.launch import Launch
from nuwrap_runtime.result import Failure

ATTEMPTS = 3


@dataclass(frozen=True)
class Outcome:
    """How preparing went: `python` is what a worker of run `run` is started with; or there is a `failure`.

    `key` says what was prepared, and for whom.
    """

    key: str
    run: str = ""
    python: str = ""
    failure: Optional[Failure] = None
    exit_code: int = 0


def outcome_key(launch: Launch, processor: str) -> str:
    """Return what an outcome holds for: this launch, this processor and this version of ours, as hex digits."""
    text = json.dumps([__version__, processor, launch.to_document()], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@contextmanager
def open_shared(environ: Mapping[str, str], key: str) -> Iterator[tuple[Workspace, Optional[int]]]:
    """Give `$NUWRAP_WORK`, else this user's own folder for that key in the temporary folder, and a hold on it.

    The latter has the name of a fresh work folder, so that a later start of ours removes it once nobody holds it.
    Raises PlatformError.
    """
    given = environ.get("NUWRAP_WORK", "")
    folder, held = (given, None) if given else _open_own(os.path.join(tempfile.gettempdir(), PREFIX + key[:8]))
    with open_workspace({**environ, "NUWRAP_WORK": folder}, must_last=True) as workspace:
        yield workspace, held


def _open_own(folder: str) -> tuple[str, Optional[int]]:
    """Make the folder, for this user alone, where it is not there yet, and hold it: it may just be removed."""
    for _ in range(ATTEMPTS):
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            held = hold(folder)
            found = os.lstat(folder)
        except FileNotFoundError:
            continue
        except OSError as exc:
            raise PlatformError(f"cannot make the work folder {folder!r}: {exc.strerror}; set NUWRAP_WORK") from exc
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise PlatformError(
                f"the work folder {folder!r} is not this user's alone ({stat.filemode(found.st_mode)}, uid "
                f"{found.st_uid}; this is uid {os.getuid()}); set NUWRAP_WORK"
            )
        return folder, held
    raise PlatformError(f"the work folder {folder!r} is removed again and again; set NUWRAP_WORK")


def prepare_once(
    launch: Launch, workspace: Workspace, environ: Mapping[str, str], report: Report, *, key: str
) -> Outcome:
    """Return the outcome for this key: that of the first worker, which alone has prepared. Raises Stopped."""
    try:
        with _alone(workspace, report):
            return _known(workspace, key) or _prepare(launch, workspace, environ, report, key=key)
    except Stopped:  # with the processor, which the first worker's failure has ended
        known = _known(workspace, key)
        if known and known.failure:
            return known
        raise


@contextmanager
def _alone(workspace: Workspace, report: Report) -> Iterator[None]:
    """Hold the lock; who waits for it says so."""
    path = os.path.join(workspace.folder, "workers.lock")
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise PlatformError(f"cannot lock the work folder: {path!r}: {exc.strerror}; set NUWRAP_WORK") from exc
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report.note("another worker prepares; this one waits for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _record(workspace: Workspace) -> str:
    return os.path.join(workspace.folder, "workers.json")


def _known(workspace: Workspace, key: str) -> Optional[Outcome]:
    """Return what is recorded for the key, None when nothing is or it is not here any more."""
    try:
        document = json.loads(read_regular(_record(workspace)))
        failure = document.pop("failure")
        found = Outcome(**document, failure=Failure.from_document(failure) if failure else None)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # none, or not ours: prepare
        return None
    is_here = os.access(found.python, os.X_OK) and os.path.isfile(workspace.worker_spec)
    return found if found.key == key and (found.failure or is_here) else None


def _prepare(launch: Launch, workspace: Workspace, environ: Mapping[str, str], report: Report, *, key: str) -> Outcome:
    """Prepare and record how it went. Raises Stopped, of which nothing is recorded."""
    launch = replace(launch, run=launch.run or str(uuid.uuid4()))
    try:
        prepared = prepare(launch, workspace, environ, report, mode="event")
        outcome = Outcome(key, launch.run, prepared.python)
    except Stopped:
        raise
    except NuwrapError as exc:
        outcome = Outcome(key, failure=failure_of(exc, report.secrets), exit_code=exc.exit_code)
    except Exception as exc:  # noqa: BLE001 - a full disk, a fault of ours: one worker tries, and all tell it
        report.error(traceback.format_exc())
        failure = Failure(report.phase, type(exc).__name__, mask(str(exc), report.secrets))
        outcome = Outcome(key, failure=failure, exit_code=PlatformError.exit_code)
    try:
        write_whole(_record(workspace), json.dumps(asdict(outcome)))
    except OSError as exc:  # each worker prepares then
        report.warn(f"{_record(workspace)!r} cannot be written: {exc.strerror}")
    return outcome
