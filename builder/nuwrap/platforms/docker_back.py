"""What a container has left comes to this machine: `result.json` and `outputs`, out of a tar archive that the daemon
makes. The function could write there as it liked, so nothing of the archive is believed.
"""

from __future__ import annotations

import os
import re
import shutil
import tarfile
import tempfile
import threading
from contextlib import suppress
from typing import IO

from nuwrap.command import Command, Stops, stream
from nuwrap.docker import find_docker
from nuwrap.platforms.docker_engine import Engine
from nuwrap.platforms.docker_wanted import RUN
from nuwrap.platforms.run_folder import RESULT
from nuwrap_runtime.errors import NuwrapError, OutputsError
from nuwrap_runtime.launch import Limits

OUTPUTS, MARKER = "outputs", ".run"  # as the host names them (host/results.py)
DEPTH = 32
BLOCK_BYTES = 1024 * 1024
NONE_THERE = re.compile(rb"no such container:path|could not find the file", re.IGNORECASE)


def check_folder(folder: str, run: str) -> None:
    """See that the folder is this run's to write to. Raises OutputsError: another's outputs stay as they are."""
    if os.path.isdir(os.path.join(folder, OUTPUTS)) and _owner(folder) != run:
        whose = f"of run {_owner(folder)!r}" if _owner(folder) else "that no run made"
        raise OutputsError(f"output_path {folder!r} has a folder {OUTPUTS!r} {whose}; name a folder of its own")


def bring_back(engine: Engine, container: str, folder: str, run: str, *, limits: Limits) -> bool:
    """Put what the ended container has left into the folder, in the place of an earlier start's; files and folders
    alone, links are left out. Returns False when there is no result among it.

    Raises OutputsError when it is more than `limits` allows, or cannot be kept: nothing new is in the folder then.
    """
    check_folder(folder, run)
    try:
        os.makedirs(folder, exist_ok=True)
        _remove_file(os.path.join(folder, RESULT))  # an earlier attempt's does not speak for this one
        making = tempfile.mkdtemp(prefix=".coming-", dir=folder)
    except OSError as exc:
        raise OutputsError(f"output_path {folder!r} cannot be written: {exc.strerror}") from exc
    try:
        if not _copy_out(engine, container, making, limits):
            return False
        _put_in_place(making, folder, run)
        return os.path.isfile(os.path.join(folder, RESULT))
    except OSError as exc:
        raise OutputsError(f"the run's outputs cannot be kept in {folder!r}: {exc.strerror or exc}") from exc
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _owner(folder: str) -> str:
    with suppress(OSError), open(os.path.join(folder, MARKER), encoding="utf-8", errors="replace") as file:
        return file.read(256).strip()
    return ""


def _remove_file(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _put_in_place(making: str, folder: str, run: str) -> None:
    with open(os.path.join(folder, MARKER), "w", encoding="utf-8") as file:
        file.write(run)
    shutil.rmtree(os.path.join(folder, OUTPUTS), ignore_errors=True)
    for name in (OUTPUTS, RESULT):
        with suppress(FileNotFoundError):
            os.rename(os.path.join(making, name), os.path.join(folder, name))


def _copy_out(engine: Engine, container: str, into: str, limits: Limits) -> bool:
    reading, writing = os.pipe()
    taker = _Taker(reading, into, limits)
    taker.thread.start()
    said = bytearray()
    try:
        argv = [find_docker(engine.environ), "cp", f"{container}:/{RUN}", "-"]
        command = Command(argv, engine.environ)
        undisturbed = Stops()  # nobody sends it any: the run is over, and what it has left is kept
        code = stream(command, out=[writing], err=(), on_output=lambda data: _keep(said, data), stops=undisturbed)
    finally:
        os.close(writing)
        taker.thread.join()
    if taker.failure:
        raise taker.failure
    if code and NONE_THERE.search(said):
        return False
    if code:
        raise OutputsError(f"the run's outputs cannot be copied out of the container: {_last(said)}")
    return True


def _keep(said: bytearray, data: bytes) -> None:
    """Keep the last that the client says; the archive itself comes by here too."""
    said[:] = (said + data)[-4096:]


def _last(said: bytearray) -> str:
    lines = said.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "docker does not say why"


class _Taker:
    """Unpacks the archive from a pipe, in a thread of its own."""

    def __init__(self, reading: int, into: str, limits: Limits) -> None:
        self._reading, self._into, self._limits = reading, into, limits
        self._bytes = self._files = 0
        self.failure: Exception | None = None
        self.thread = threading.Thread(target=self._take, daemon=True)

    def _take(self) -> None:
        with open(self._reading, "rb") as pipe:
            try:
                with tarfile.open(fileobj=pipe, mode="r|", bufsize=BLOCK_BYTES) as archive:
                    for member in archive:
                        self._put(member, archive.extractfile(member) if member.isreg() else None)
            except tarfile.ReadError as exc:  # an empty one: the client says why
                self.failure = OutputsError(f"the container's outputs are cut off: {exc}") if self._files else None
            except (NuwrapError, OSError) as exc:
                self.failure = exc

    def _put(self, member: tarfile.TarInfo, content: IO[bytes] | None) -> None:
        path = _place(self._into, member.name)
        self._files += 1
        self._bytes += member.size if content else 0
        self._check()
        if path and member.isdir():
            os.makedirs(path, exist_ok=True)
        elif path and content:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
            with open(target, "wb") as file:
                shutil.copyfileobj(content, file, BLOCK_BYTES)

    def _check(self) -> None:
        if self._files > self._limits.files or self._bytes > self._limits.input_bytes:
            raise OutputsError(
                f"the run has left more than {self._limits.files} files or {self._limits.input_bytes} bytes "
                "(limits.files, limits.input_bytes), the most that is brought back; give it an output_path at a store"
            )


def _place(into: str, name: str) -> str:
    """Return where a member goes: `run/result.json`, and what is in `run/outputs`; "" for all else.

    Raises OutputsError for a name that leads out of the folder.
    """
    parts = name.rstrip("/").split("/")
    if os.path.isabs(name) or any(part in ("", ".", "..") for part in parts) or len(parts) > DEPTH or "\0" in name:
        raise OutputsError(f"the container's archive has a name that is refused: {name!r}")
    is_wanted = parts[1:] == [RESULT] or parts[1:2] == [OUTPUTS]
    return os.path.join(into, *parts[1:]) if is_wanted else ""
