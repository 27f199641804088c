"""The executor as a program in this very container, which is thrown away after the build: image `nuwrap/kaniko`.

kaniko unpacks the base image over `/`. So it is never started where that would destroy something: the container is
recognised as kaniko does it, and besides, this interpreter and this code must lie below `/kaniko`, which no machine
has by accident and which alone outlives the build.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from nuwrap.command import Command, Completed, run, stream
from nuwrap.engines import Order
from nuwrap.engines.kaniko_place import Ended, Watch
from nuwrap.engines.kaniko_room import KANIKO, Room, RoomFile
from nuwrap.errors import BuildError

EXECUTOR = f"{KANIKO}/executor"
ANSWER_SECONDS = 30
KILLED_CODE = 137
# pkg/util/proc/proc.go
_FILES = ("run/.containerenv", ".dockerenv", "var/run/secrets/kubernetes.io/serviceaccount", "__runsc_containers__")
_RUNTIMES = (
    "docker", "rkt", "systemd-nspawn", "lxc", "openvz", "kube", "garden", "podman", "gvisor", "firejail", "wsl",
)  # fmt: skip
_PASSED = ("PATH", "HOME", "USER", "SSL_CERT_DIR", "SSL_CERT_FILE", "container")


def find_executor(environ: Mapping[str, str]) -> str:
    """Return the executor's path: `NUWRAP_KANIKO`, else `executor` on PATH, else `/kaniko/executor`; "" for none."""
    path = environ.get("PATH", os.defpath)
    for name in (environ["NUWRAP_KANIKO"],) if environ.get("NUWRAP_KANIKO") else ("executor", EXECUTOR):
        found = shutil.which(name, path=path)
        if found:
            return found
    return ""


def why_not_here(environ: Mapping[str, str], *, root: str = "/", homes: Sequence[str] = ()) -> str:
    """Return why the executor must not be started in this process's own place, "" when it may.

    `homes` are the folders that must outlive the build, those of this interpreter and this code by default.
    """
    if not is_contained(environ, root=root):
        return "this is no container, and kaniko unpacks the base image over `/`"
    for home in homes or (sys.base_prefix, sys.prefix, __file__):
        if not f"{os.path.realpath(home)}/".startswith(f"{KANIKO}/"):
            return (
                f"kaniko unpacks the base image over `/`, and {home} would not outlive that; use the image "
                "nuwrap/kaniko, whose own files lie below /kaniko, for one build each time"
            )
    return "" if find_executor(environ) else f"there is no executor: {_say_looked(environ)}"


def _say_looked(environ: Mapping[str, str]) -> str:
    named = environ.get("NUWRAP_KANIKO", "")
    return f"NUWRAP_KANIKO={named!r} is no program" if named else f"none on PATH, none is {EXECUTOR}; set NUWRAP_KANIKO"


def is_contained(environ: Mapping[str, str], *, root: str = "/") -> bool:
    """Tell whether this is a container, by kaniko's own signs."""
    if any(os.path.exists(os.path.join(root, name)) for name in _FILES):
        return True
    for text in (_read(root, "proc/self/cgroup"), environ.get("container", ""), _read(root, "run/systemd/container")):
        if any(name in text for name in _RUNTIMES):
            return True
    return bool(re.match(r"\S+ / overlay", _read(root, "proc/mounts")))


def _read(root: str, name: str) -> str:
    try:
        with open(os.path.join(root, name), encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


class Inside:
    """The container that this process is in, for one build."""

    name = "this container"

    def __init__(self, order: Order, watch: Watch, hidden: Sequence[str]) -> None:
        why = why_not_here(order.environ)
        if why:
            raise BuildError(why)
        self.room = Room(f"{KANIKO}/nuwrap-{secrets.token_hex(6)}")
        self._executor = find_executor(order.environ)
        self._order = order
        self._watch = watch
        self._hidden = hidden

    def ask(self, argument: str) -> Completed:
        """Return what the executor answers to a question."""
        return ask_executor(self._executor, argument)

    def fill(self, files: Sequence[RoomFile]) -> None:
        """Write the files, the room for this user alone: executor and instructions are root."""
        os.mkdir(self.room.root, 0o700)
        for one in files:
            os.makedirs(os.path.dirname(one.place), exist_ok=True)
            if one.copied_from:
                shutil.copytree(one.copied_from, one.place, symlinks=True)
                continue
            with open(os.open(one.place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
                stream.write(one.content)

    def run(self, argv: Sequence[str], environment: Mapping[str, str], listen: Callable[[bytes], None]) -> Ended:
        """Run the executor to its end, and end what it leaves behind: instructions have process groups of their own."""
        order, started = self._order, list[int]()
        passed = {name: order.environ[name] for name in _PASSED if name in order.environ}
        command = Command([self._executor, *argv], {**passed, **environment}, redact=self._hidden)
        try:
            code = stream(
                command,
                out=order.log,
                err=order.log,
                on_start=started.append,
                on_output=listen,
                is_hard=True,
                timeout_s=self._watch.left_s,
                stops=self._watch.stops,
            )
        finally:
            for pid in started:
                _end_session(pid)
        return Ended(code, lacked_memory=code == KILLED_CODE)

    def read(self, place: str) -> bytes:
        """Return a small file of the room."""
        try:
            with open(place, "rb") as stream:
                return stream.read()
        except OSError as exc:
            raise BuildError(f"kaniko has left no {os.path.basename(place)}: {exc.strerror}") from exc

    def take(self, place: str, target: str) -> None:
        """Copy a file or a folder out of the room."""
        try:
            if os.path.isdir(place):
                shutil.copytree(place, target, dirs_exist_ok=True)
            else:
                shutil.copyfile(place, target)
        except OSError as exc:
            raise BuildError(f"the image cannot be written to {target!r}: {exc.strerror}") from exc

    def keep(self, archive: str, destinations: Sequence[str]) -> str:  # noqa: ARG002
        """There is no store of images in a container."""
        raise BuildError("kaniko in a container keeps no image; push it, or name a file that gets it")

    def close(self) -> None:
        """Remove the room."""
        shutil.rmtree(self.room.root, ignore_errors=True)


def ask_executor(executor: str, argument: str) -> Completed:
    """Return what the executor answers to a question, which touches nothing."""
    return run(Command([executor, argument], {}), timeout_s=ANSWER_SECONDS)


def _end_session(session: int) -> None:
    """Kill all processes of the session that the executor began."""
    for name in os.listdir("/proc"):
        if name.isdigit() and _session_of(name) == session:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(int(name), signal.SIGKILL)


def _session_of(pid: str) -> int:
    fields = _read("/proc", f"{pid}/stat").rpartition(")")[2].split()  # the name before may have blanks
    return int(fields[3]) if len(fields) > 3 else 0
