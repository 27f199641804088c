"""What is asked of the docker client: images, containers, what is copied in. Knows no run."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nuwrap.command import Command, Stops, run, stream
from nuwrap.docker import ask, find_docker, inspect_image, last_words
from nuwrap.errors import PlatformError

MAKE_SECONDS = 600.0  # a volume is filled from the image
SHORT_SECONDS = 60.0


@dataclass(frozen=True)
class Engine:
    """The daemon that the environment's docker client speaks to."""

    environ: Mapping[str, str] = field(repr=False)

    def find_image(self, reference: str) -> dict[str, Any] | None:
        """Return what the daemon knows of an image that it has. Raises PlatformError."""
        return inspect_image(self.environ, reference)

    def pull(self, reference: str, log: Sequence[int], stops: Stops | None = None) -> dict[str, Any]:
        """Bring an image here and return what is known of it. Raises PlatformError."""
        said = bytearray()
        command = Command([find_docker(self.environ), "pull", "--quiet", reference], self.environ)
        code = stream(command, out=(), err=log, on_output=said.extend, stops=stops)
        found = self.find_image(reference) if code == 0 else None
        if found is None:
            words = said.decode("utf-8", "replace").strip().splitlines()
            raise PlatformError(f"image {reference!r} cannot be pulled: {words[-1] if words else f'exit code {code}'}")
        return found

    def make(self, args: Sequence[str]) -> str:
        """Make a container that is not started yet and return its id. Raises PlatformError."""
        answer = ask(self.environ, ["create", *args], timeout_s=MAKE_SECONDS)
        if answer.returncode:
            raise PlatformError(f"the container cannot be made: {last_words(answer)}")
        return answer.output.decode("ascii").strip()

    def inspect(self, container: str) -> dict[str, Any] | None:
        """Return what the daemon knows of a container, None when it is gone. Raises PlatformError."""
        answer = ask(self.environ, ["container", "inspect", container])
        if answer.returncode == 0:
            found: dict[str, Any] = json.loads(answer.output)[0]
            return found
        if b"no such container" in answer.errors.lower():
            return None
        raise PlatformError(f"docker cannot tell how container {container!r} is: {last_words(answer)}")

    def has_volume(self, name: str) -> bool:
        """Tell whether there is a volume of that name. Raises PlatformError."""
        return ask(self.environ, ["volume", "inspect", name]).returncode == 0

    def list_containers(self, *labels: str) -> list[str]:
        """Return the ids of all containers with these labels, running or not. Raises PlatformError."""
        filters = [text for label in labels for text in ("--filter", f"label={label}")]
        answer = ask(self.environ, ["ps", "--all", "--quiet", "--no-trunc", *filters])
        if answer.returncode:
            raise PlatformError(f"docker cannot tell which containers there are: {last_words(answer)}")
        return answer.output.decode("ascii").split()

    def remove(self, *containers: str) -> None:
        """End and remove containers with their anonymous volumes; what is gone already is no matter."""
        if containers:
            ask(self.environ, ["rm", "--force", "--volumes", *containers], timeout_s=SHORT_SECONDS)

    def kill(self, container: str) -> None:
        """End a container at once."""
        ask(self.environ, ["kill", container], timeout_s=SHORT_SECONDS)

    def open_places(self, container: str, places: Sequence[str]) -> None:
        """Let every user write to these folders of a container that is not started. Raises PlatformError."""
        reading, writing = os.pipe()
        os.write(writing, _folders(places))  # less than a pipe holds
        os.close(writing)
        try:
            argv = [find_docker(self.environ), "cp", "-", f"{container}:/"]
            answer = run(Command(argv, self.environ, stdin=reading), timeout_s=SHORT_SECONDS)
        finally:
            os.close(reading)
        if answer.returncode:
            raise PlatformError(f"the container's folders cannot be opened: {last_words(answer)}")


def _folders(places: Sequence[str]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for place in places:
            member = tarfile.TarInfo(place.strip("/"))
            member.type, member.mode = tarfile.DIRTYPE, 0o1777
            archive.addfile(member)
    return made.getvalue()
