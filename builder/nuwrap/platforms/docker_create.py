"""The arguments of `docker create` for the containers of a run. A pure plan: asks nobody but where it says so."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from nuwrap.docker import ask
from nuwrap.errors import PlatformError
from nuwrap.platforms import docker_boot
from nuwrap.platforms.docker_engine import Engine
from nuwrap.platforms.docker_wanted import CACHE, GIVEN, SECRETS, TEMPORARY, WORK, Port, Wanted
from nuwrap.spec.build import TREE

HOST: Final = f"{TREE}/bin/nuwrap-host"
PROCESSES: Final = "4096"
# The init is the daemon's own: Linux drops a signal that process 1 has no handler for, so a stop in the host's first
# moments would be lost.
GUARDED: Final = (
    *("--interactive", "--init", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
    *("--pids-limit", PROCESSES),
    *("--log-driver", "none"),  # the run's log has it, masked
)


@dataclass(frozen=True)
class Made:
    """What decides the arguments, once image and daemon were asked; `runtime` is the volume for a foreign image."""

    wanted: Wanted
    user: str
    runtime: str
    has_secrets: bool
    ports: Sequence[Port]
    command: Sequence[str]

    @property
    def fetches(self) -> bool:
        """Whether code or inputs come from elsewhere into an image that may have no means for that."""
        return bool(self.runtime) and self.wanted.has_remote

    @property
    def places(self) -> list[str]:
        """New volumes that only root could write to; ours have the modes that our images give them."""
        own = [f"/{WORK}", f"/{CACHE}", f"/{TEMPORARY}"] if self.runtime else []
        return [*own, *self.wanted.opened]

    @property
    def start_folder(self) -> str:
        """Where the host starts: a relative `code_src` begins there."""
        return f"/{GIVEN}/code" if any(gift.is_code for gift in self.wanted.gifts) else f"/{GIVEN}"


def main_args(made: Made) -> list[str]:
    """Return the container that runs the function."""
    wanted = made.wanted
    volumes = [f"dst=/{WORK}", f"src=nuwrap-cache-{os.getuid()},dst=/{CACHE}", f"dst=/{TEMPORARY}"]
    args = ["--name", wanted.name, *_labels(wanted), *GUARDED, "--user", made.user]
    args += [text for volume in volumes for text in ("--mount", f"type=volume,{volume}")]
    if made.runtime:
        args += ["--mount", f"type=volume,src={made.runtime},dst={TREE},readonly"]
    if made.has_secrets:  # in memory alone
        args += ["--tmpfs", f"/{SECRETS}:rw,noexec,nosuid,nodev,size=16m,mode=1777"]
    return [*args, *wanted.flags, *_boot(wanted.python, wanted.image), *made.command]


def opener_args(made: Made, container: str) -> list[str]:
    """Return a container that has the other's volumes and a root that files can be copied into."""
    return [*_labels(made.wanted), "--volumes-from", container, made.wanted.image, HOST]


def fetch_args(made: Made, container: str) -> list[str]:
    """Return the container that fetches into the other's volumes."""
    wanted = made.wanted
    args = [*_labels(wanted), *GUARDED, "--user", made.user, "--volumes-from", container]
    return [*args, *_boot("python3", wanted.fetcher), "fetch", "--launch", f"/{GIVEN}/launch.json"]


def _labels(wanted: Wanted) -> list[str]:
    return [text for name, value in wanted.labels.items() for text in ("--label", f"{name}={value}")]


def _boot(python: str, image: str) -> list[str]:
    return ["--entrypoint", python, image, "-I", "-S", "-c", _boot_text(), HOST]


@cache
def _boot_text() -> str:
    with open(docker_boot.__file__, encoding="utf-8") as file:
        return file.read()


def numeric_user(engine: Engine, container: str, user: str) -> str:
    """Return `uid:gid` of the container's user: another image does not know its name. Raises PlatformError."""
    name, _, group = user.partition(":")
    if name.isdigit():
        return user
    answer = ask(engine.environ, ["cp", f"{container}:/etc/passwd", "-"])
    for line in answer.output.decode("utf-8", "replace").splitlines():
        parts = line.split(":")
        if len(parts) > 3 and parts[0].rpartition("\0")[2] == name:
            return f"{parts[2]}:{group if group.isdigit() else parts[3]}"
    raise PlatformError(f"the image's user {name!r} is not in its /etc/passwd; give run_as_user")
