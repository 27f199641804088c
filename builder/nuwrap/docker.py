"""The docker client: where it is, what it answers, and what is wrong when it cannot be used.

Nothing but the standard library is imported: a run's supervisor has no third-party module.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from nuwrap.command import Command, Completed, run
from nuwrap.errors import PlatformError

ANSWER_BYTES = 4 * 1024 * 1024  # the history of an image with many long instructions
OWN_BUILDKIT = range(19, 23)  # majors of clients that have BuildKit without buildx; 18.09 hid it


def find_docker(environ: Mapping[str, str]) -> str:
    """Return the path of the client: `NUWRAP_DOCKER`, else `docker` on PATH. Raises PlatformError without one."""
    wanted = environ.get("NUWRAP_DOCKER", "")
    found = shutil.which(wanted or "docker", path=environ.get("PATH", os.defpath))
    if found:
        return found
    if wanted:
        raise PlatformError(f"NUWRAP_DOCKER={wanted!r} is no program that this user may run; unset it, or correct it")
    raise PlatformError("there is no `docker` on PATH; install Docker, or set NUWRAP_DOCKER to its client")


def ask(
    environ: Mapping[str, str], args: Sequence[str], *, timeout_s: float = 60, redact: Sequence[str] = ()
) -> Completed:
    """Run `docker ARGS` for its answer, whatever its exit code is. Raises PlatformError when it cannot be run."""
    command = Command([find_docker(environ), *args], environ, redact=redact)
    return run(command, timeout_s=timeout_s, most_bytes=ANSWER_BYTES)


def inspect_image(environ: Mapping[str, str], reference: str) -> dict[str, Any] | None:
    """Return what `docker image inspect` says of an image that the daemon has, None when it has not.

    Raises PlatformError with the daemon's words when it does not answer.
    """
    answer = ask(environ, ["image", "inspect", reference])
    if answer.returncode == 0:
        found: dict[str, Any] = json.loads(answer.output)[0]
        return found
    if b"no such image" in answer.errors.lower():
        return None
    raise PlatformError(f"docker cannot tell what {reference!r} is: {last_words(answer)}")


def last_words(answer: Completed) -> str:
    """Return the last line that a docker command has said of its failure."""
    lines = answer.errors.decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), f"exit code {answer.returncode}")


def has_buildx(environ: Mapping[str, str]) -> bool:
    """Tell whether the client has the buildx plugin. Raises PlatformError without a client."""
    return ask(environ, ["buildx", "version"]).returncode == 0


def why_unusable(environ: Mapping[str, str]) -> str:
    """Return why no image can be built with Docker here and what to do, "" when client and daemon answer and there is
    BuildKit.
    """
    try:
        answer = ask(environ, ["version", "--format", "{{json .}}"])
        if answer.returncode:
            return _why_silent(answer)
        versions = _versions(answer)
        if versions is None:
            return "`docker` here is not Docker's own (podman is not supported); set NUWRAP_DOCKER to Docker's client"
        return "" if has_buildx(environ) else _why_no_buildkit(*versions)
    except PlatformError as exc:
        return str(exc)


def server_version(environ: Mapping[str, str]) -> str:
    """Return the daemon's version, "" when it does not answer. Raises PlatformError without a client."""
    answer = ask(environ, ["version", "--format", "{{.Server.Version}}"])
    return answer.output.decode("utf-8", "replace").strip() if answer.returncode == 0 else ""


def _versions(answer: Completed) -> tuple[str, str] | None:
    """Return the versions of client and daemon, None of a program that is not Docker."""
    try:
        told = json.loads(answer.output)
    except ValueError:
        return None
    client, server = told.get("Client") or {}, told.get("Server") or {}
    if b"podman" in answer.errors.lower() + answer.output.lower() or not client.get("ApiVersion") or not server:
        return None
    return client.get("Version", ""), server.get("Version", "")


def _why_silent(answer: Completed) -> str:
    said = last_words(answer).partition(". Is the docker daemon")[0]
    if "permission denied" in said.lower():
        return (
            f"Docker may not be used by this user: {said}; "
            "`sudo usermod -aG docker $USER`, then log in again, or set DOCKER_HOST to a daemon of one's own"
        )
    return f"Docker does not answer: {said}; start it (`sudo systemctl start docker`), or set DOCKER_HOST"


def _why_no_buildkit(client: str, server: str) -> str:
    if not _is_at_least(server, 18, 9):
        return f"Docker {server} has no BuildKit; images need Docker 18.09 or later"
    major = _major(client)
    if major in OWN_BUILDKIT or client.startswith("18.09"):
        return ""
    return (
        f"the docker client {client} has no BuildKit without its buildx plugin, and `docker buildx` is missing; "
        "install it (package `docker-buildx-plugin`, on Debian `docker-buildx`)"
    )


def _major(version: str) -> int:
    found = re.match(r"\d+", version)
    return int(found[0]) if found else 0


def _is_at_least(version: str, major: int, minor: int) -> bool:
    found = re.match(r"(\d+)\.(\d+)", version)
    return not found or (int(found[1]), int(found[2])) >= (major, minor)
