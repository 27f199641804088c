"""What every platform keeps of a run on this machine: its folder, its log, files for this user alone."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from nuwrap.errors import PlatformError
from nuwrap_runtime.launch import VARIABLES, Launch

STORE = ".nuwrap"
LAUNCH, LOG, RESULT = "launch.json", "log.txt", "result.json"
# Which part of the log lacks lines that the host keeps beside the outputs: {"begin", "end", "bytes"}, the first two
# where in the log it stands, the last how much it should have.
LOST_LINES = "lost-lines.json"

# Of the host's own variables, those that describe this machine and not a function: they count where the launch does
# not say it. All others the launch decides.
MACHINE_KEYS = ("grace_s", "isolated", "limits", "network")


def make_run_folder(base: str, run: str, attempt: int = 1) -> str:
    """Make `.nuwrap/runs/<run>` below `base`, `<run>-2` for the second attempt; see `make_folder`."""
    return make_folder(base, "runs", run if attempt == 1 else f"{run}-{attempt}")


def make_folder(base: str, kind: str, name: str) -> str:
    """Make `.nuwrap/<kind>/<name>` below `base`, for this user alone, unseen by git. Raises PlatformError."""
    store = os.path.join(base, STORE)
    folder = os.path.join(store, kind, name)
    try:
        if not os.path.isdir(store):
            os.makedirs(store, mode=0o700, exist_ok=True)
            with open(os.path.join(store, ".gitignore"), "w", encoding="ascii") as stream_:
                stream_.write("*\n")
        os.makedirs(os.path.dirname(folder), mode=0o700, exist_ok=True)
        os.mkdir(folder, mode=0o700)
    except OSError as exc:
        raise PlatformError(f"cannot make the {kind.removesuffix('s')}'s folder {folder!r}: {exc.strerror}") from exc
    return folder


def decided_variables(launch: Launch) -> set[str]:
    """Return the host's variables that the launch decides: those of the environment do not count."""
    open_keys = set(MACHINE_KEYS) - set(launch.to_document())
    return {name for name, key in VARIABLES.items() if key not in open_keys} | {"NUWRAP_LAUNCH"}


@contextmanager
def open_log(folder: str) -> Iterator[int]:
    """Give the run's log, open for what is printed next. Raises PlatformError."""
    path = os.path.join(folder, LOG)
    try:
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    except OSError as exc:
        raise PlatformError(f"cannot make {path!r}: {exc.strerror}") from exc
    try:
        yield log
    finally:
        os.close(log)


def write_private(path: str, text: str) -> None:
    """Make or replace a file for this user alone: who waits for it reads it whole, and none is left when that fails.

    Raises PlatformError.
    """
    unfinished = f"{path}.{secrets.token_hex(4)}"
    try:
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream_:
            stream_.write(text.encode("utf-8", "surrogateescape"))
        os.replace(unfinished, path)
    except OSError as exc:
        with suppress(OSError):
            os.unlink(unfinished)
        raise PlatformError(f"cannot write {path!r}: {exc.strerror}") from exc
