"""The executor in a container that Docker makes for one build, be the daemon here or on another machine: what it
needs is copied in, what it made is copied out, and no folder is mounted.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from nuwrap import docker
from nuwrap.command import Command, Completed, stream
from nuwrap.engines import Order
from nuwrap.engines.docker_client import base_environ
from nuwrap.engines.kaniko_argv import DEFAULT_IMAGE
from nuwrap.engines.kaniko_place import Ended, Watch
from nuwrap.engines.kaniko_room import KANIKO, Room, RoomFile, has_loopback, pack
from nuwrap.errors import BuildError, PlatformError

LABEL = "dev.nuwrap.builds"  # whose value is the image: a container that a lost machine has left can be told by it
MOVE_SECONDS = 600  # for a question, an image or a context to get through to a daemon far away
_INLINE = ("DOCKER_CONFIG",)  # the docker client reads it too, for itself


class InDocker:
    """A container of the executor's image."""

    def __init__(self, order: Order, watch: Watch, hidden: Sequence[str]) -> None:
        self.room = Room(f"{KANIKO}/nuwrap")
        self.image = order.settings.kaniko_image or DEFAULT_IMAGE
        self.name = f"a container of {self.image}"
        self._environ = base_environ(order.environ, order.settings.access.docker_config)
        self._container = f"nuwrap-kaniko-{secrets.token_hex(6)}"
        self._files: Sequence[RoomFile] = ()
        self._order = order
        self._watch = watch
        self._hidden = hidden

    def ask(self, argument: str) -> Completed:
        """Return what the executor answers to a question; its image is pulled where the daemon has not got it."""
        if docker.inspect_image(self._environ, self.image) is None:
            self._do(["pull", "--quiet", self.image], _say_image(self.image), kind="pull")
        return docker.ask(self._environ, ["run", "--rm", "--network", "none", self.image, argument])

    def fill(self, files: Sequence[RoomFile]) -> None:
        """Keep the files until there is a container: its arguments are known then."""
        self._files = files

    def run(self, argv: Sequence[str], environment: Mapping[str, str], listen: Callable[[bytes], None]) -> Ended:
        """Make the container, fill it, and attach to it until it ends."""
        environ = {**self._environ, **{name: environment[name] for name in environment if name not in _INLINE}}
        made = ["create", "--name", self._container, "--label", f"{LABEL}={self._order.destinations[0]}"]
        made += ["--network", "host"] if has_loopback(self._order) else []
        for name in environment:
            made += ["--env", f"{name}={environment[name]}" if name in _INLINE else name]
        self._do([*made, self.image, *argv], "the container for kaniko cannot be made", environ=environ)
        self._copy_in()
        code = self._stream(["start", "--attach", self._container], listen=listen)
        return Ended(code, lacked_memory=bool(self._state().get("OOMKilled")))

    def read(self, place: str) -> bytes:
        """Return a small file of the room."""
        answer = docker.ask(self._environ, ["cp", f"{self._container}:{place}", "-"])
        if answer.returncode:
            raise BuildError(f"kaniko has left no {os.path.basename(place)}: {docker.last_words(answer)}")
        with tarfile.open(fileobj=io.BytesIO(answer.output)) as archive:
            member = archive.extractfile(archive.next() or place)
            return member.read() if member else b""

    def take(self, place: str, target: str) -> None:
        """Copy a file or a folder out of the container."""
        inside = f"{place}/." if os.path.isdir(target) else place
        self._do(["cp", f"{self._container}:{inside}", target], f"the image cannot be written to {target!r}")

    def keep(self, archive: str, destinations: Sequence[str]) -> str:
        """Put the image into the daemon's store under all its names."""
        with tarfile.open(archive) as opened:
            member = opened.extractfile("manifest.json")
            image: str = json.load(member)[0]["Config"] if member else ""
        self._do(["load", "--quiet", "--input", archive], "Docker does not take the image that kaniko made")
        for name in destinations:
            self._do(["tag", image, name], f"Docker cannot name the image {name!r}")
        return image

    def close(self) -> None:
        """Remove the container, running or not."""
        with suppress(PlatformError):
            docker.ask(self._environ, ["rm", "--force", "--volumes", self._container], timeout_s=MOVE_SECONDS)

    def _copy_in(self) -> None:
        with tempfile.TemporaryFile() as packed:
            pack(packed, self._files)
            packed.seek(0)
            self._do(
                ["cp", "-", f"{self._container}:/"], "the context cannot be copied to Docker", stdin=packed.fileno()
            )

    def _state(self) -> dict[str, Any]:
        answer = docker.ask(self._environ, ["container", "inspect", "--format", "{{json .State}}", self._container])
        found: dict[str, Any] = json.loads(answer.output) if answer.returncode == 0 else {}
        return found

    def _do(
        self,
        args: Sequence[str],
        failure: str,
        *,
        kind: str = "engine",
        environ: Mapping[str, str] | None = None,
        stdin: int | None = None,
    ) -> None:
        """Run a docker command. Raises BuildError with its last words, and for a stop or the end of the time."""
        said = bytearray()
        code = self._stream(args, listen=said.extend, environ=environ, stdin=stdin, is_shown=False)
        self._watch.check()
        if code:
            words = docker.last_words(Completed(code, b"", bytes(said)))
            raise BuildError(f"{failure}: {words}", kind)

    def _stream(
        self,
        args: Sequence[str],
        *,
        listen: Callable[[bytes], None],
        environ: Mapping[str, str] | None = None,
        stdin: int | None = None,
        is_shown: bool = True,
    ) -> int:
        order = self._order
        return stream(
            Command(
                [docker.find_docker(self._environ), *args],
                self._environ if environ is None else environ,
                redact=self._hidden,
                stdin=stdin,
            ),
            out=order.log if is_shown else (),
            err=order.log if is_shown else (),
            on_output=listen,
            is_hard=True,
            timeout_s=self._watch.left_s,
            stops=self._watch.stops,
        )


def _say_image(image: str) -> str:
    return (
        f"kaniko's image {image!r} cannot be pulled; push it to a registry that this machine reaches and set "
        "build.kaniko_image"
    )
