"""From a run to what its container is made of: the flags of `docker create`, what goes in, the launch document as it
reads inside. Asks nobody; the docker client is not known here.
"""

from __future__ import annotations

import csv
import io
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import quote, unquote

from nuwrap.errors import PlatformError
from nuwrap.platforms import Job
from nuwrap.platforms.docker_wanted import GIVEN, RUN, Gift
from nuwrap.spec.quantities import count_bytes, count_gpus, quantity
from nuwrap_runtime.errors import InputsError, SourceError
from nuwrap_runtime.launch import Launch

SHARES_PER_CORE: Final = 1024  # as Kubernetes counts them (kubelet, MilliCPUToShares)
_REPOSITORY: Final = re.compile(r"git\+file://(?P<path>/[^#?]*)(?P<rest>.*)")
VOLUMES: Final = ("persistent_volume_claim", "shared_volume", "ephemeral", "empty_dir")


@dataclass
class Inside:
    """A launch document as the container reads it, what has to be there for it, and the paths that it had here."""

    launch: Launch
    gifts: list[Gift] = field(default_factory=list)
    paths: dict[str, str] = field(default_factory=dict)
    has_remote: bool = False


def plan_inside(launch: Launch, folder: str, *, is_baked: bool) -> Inside:
    """Return the document with paths that the container has, and the files and folders that go there.

    `folder` is where a relative `code_src` starts. Code that is baked into the image stays there, unless it is to be
    got anew. Raises SourceError and InputsError for what does not exist.
    """
    inside = Inside(launch)
    if launch.code_src and (launch.refresh_code or not is_baked):
        inside.launch = replace(launch, code_src=_give_code(inside, launch, folder))
    entities = {key: _give_entity(inside, key, one, folder) for key, one in launch.entities.items()}
    output_path = launch.output_path if "://" in launch.output_path else f"/{RUN}"
    inside.launch = replace(inside.launch, entities=entities, output_path=output_path if launch.mode == "job" else "")
    return inside


def _give_code(inside: Inside, launch: Launch, folder: str) -> str:
    """Return the code's address inside; a relative path stays, as a file is the module of that path."""
    source = launch.code_src
    repository = _REPOSITORY.fullmatch(source)
    if repository:
        return _give_repository(inside, source, repository)
    if "://" in source:
        inside.has_remote = inside.has_remote or not source.startswith("store://") or _is_remote(launch, source)
        return source
    path = os.path.join(folder, os.path.expanduser(source))
    if os.pardir in source.split(os.sep):
        raise SourceError(f"code_src {source!r}: '..' is refused; name a path at or below the function's folder")
    if not os.path.exists(path):
        where = os.path.dirname(path) if os.path.isabs(source) else folder
        raise SourceError(f"code_src {source!r} does not exist in {where!r}")
    place = os.path.basename(path.rstrip(os.sep)) if os.path.isabs(source) else os.path.normpath(source)
    at = os.path.normpath(f"{GIVEN}/code/{place}")
    inside.gifts.append(Gift(os.path.realpath(path), at, is_code=True))
    inside.paths[f"/{at}"] = source
    return f"/{at}" if os.path.isabs(source) else source


def _give_repository(inside: Inside, source: str, repository: re.Match[str]) -> str:
    """Return the address inside of a git repository that is on this machine. Raises SourceError for one that is not."""
    path = unquote(repository["path"])
    if not os.path.isdir(path):
        raise SourceError(f"code_src {source!r}: there is no folder {path!r}")
    at = f"{GIVEN}/git/{os.path.basename(path.rstrip(os.sep)) or 'repository'}"
    inside.gifts.append(Gift(os.path.realpath(path), at))
    inside.has_remote = True  # git gets it
    address = f"git+file:///{quote(at)}{repository['rest']}"
    inside.paths[address] = source
    return address


def _is_remote(launch: Launch, key: str) -> bool:
    path = str(launch.entities.get(key, {}).get("path", ""))
    return "://" in path and not path.startswith("file://")


def _give_entity(inside: Inside, key: str, entity: Mapping[str, Any], folder: str) -> Mapping[str, Any]:
    """Return the entity with the path that it has inside; one that is not here, and that nobody needs, stays."""
    path = str(entity["path"])
    if "://" in path and not path.startswith("file://"):
        inside.has_remote = True
        return entity
    here = os.path.join(folder, path.removeprefix("file://"))
    if not os.path.exists(here):
        names = [name for name, one in inside.launch.inputs.items() if one == key]
        if names:
            raise InputsError(f"input {names[0]!r}: {path!r} does not exist")
        return entity
    at = f"{GIVEN}/inputs/{len(inside.gifts)}/{os.path.basename(here.rstrip(os.sep)) or 'input'}"
    inside.gifts.append(Gift(os.path.realpath(here), at))
    inside.paths[f"/{at}"] = path
    return {**entity, "path": f"/{at}"}


@dataclass
class Flags:
    """Flags of `docker create`; `opened` are places of new volumes, `shared` names of volumes that must be there."""

    flags: list[str] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)


def plan_flags(job: Job, *, say: Callable[[str], None]) -> Flags:
    """Return what resources and volumes come to. Raises PlatformError for a volume that Docker has no words for."""
    planned = Flags(_resource_flags(job.container.resources))
    planned.flags += ["--stop-timeout", str(math.ceil(job.launch.grace_s) + 5)]
    for volume in job.container.volumes:
        _add_volume(planned, job, volume, say)
    return planned


def _resource_flags(resources: Mapping[str, Any]) -> list[str]:
    """Return limits as limits, and what is asked for as Docker's weights, which count when the machine is full."""
    cpu, memory, gpu = (_amount(resources.get(name)) for name in ("cpu", "mem", "gpu"))
    flags = []
    if cpu.get("limits"):
        flags += ["--cpus", f"{quantity(cpu['limits']):f}"]
    if cpu.get("requests"):
        flags += ["--cpu-shares", str(max(2, int(quantity(cpu["requests"]) * SHARES_PER_CORE)))]
    if memory.get("limits"):  # swap would make the limit none
        most = str(int(count_bytes(memory["limits"])))
        flags += ["--memory", most, "--memory-swap", most]
    if memory.get("requests"):
        flags += ["--memory-reservation", str(int(count_bytes(memory["requests"])))]
    count = int(count_gpus(gpu.get("limits") or gpu.get("requests") or "0"))
    return [*flags, "--gpus", str(count)] if count else flags


def _amount(value: Any) -> Mapping[str, str]:
    """Return requests and limits; a plain value is what is asked for."""
    return value if isinstance(value, Mapping) else {"requests": str(value)} if value else {}


def _add_volume(planned: Flags, job: Job, volume: Mapping[str, Any], say: Callable[[str], None]) -> None:
    kind, name, at = volume["volume_type"], volume["name"], volume["mount_path"]
    spec = volume.get("spec") or {}
    if kind not in VOLUMES:
        raise PlatformError(
            f"volume {name!r}: platform 'docker' has no {kind!r}; allowed: {', '.join(VOLUMES)}, or put the files "
            "into the function's image"
        )
    source = ""
    if kind == "shared_volume":
        source = spec.get("claim_name") or name
        planned.shared.append(source)
    elif kind == "persistent_volume_claim":
        source = f"v-{job.launch.run}-{name}"  # as the claim is named on Kubernetes
    if kind == "empty_dir" and spec.get("medium") == "Memory":
        size = f",size={int(count_bytes(spec['size_limit']))}" if spec.get("size_limit") else ""
        planned.flags += ["--tmpfs", f"{at}:rw,nosuid,nodev,mode=1777{size}"]
        return
    planned.flags += ["--mount", _csv("type=volume", *([f"src={source}"] if source else []), f"dst={at}")]
    if kind != "shared_volume":
        planned.opened.append(at)
    unused = sorted(set(spec) & {"size", "storage_class", "size_limit"})
    if unused:
        say(
            f"volume {name!r}: {', '.join(unused)} recorded, but not used; a volume of Docker has no limit and no class"
        )


def _csv(*fields: str) -> str:
    """Return a line as `--mount` reads it: a path may have a comma."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(fields)
    return line.getvalue()
