"""Claims that a run reads from and writes to, `pvc://CLAIM/path`, as its pod has them: folders, mounted for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from nuwrap.cluster.client import Cluster
from nuwrap.errors import SpecError
from nuwrap.plan.kubernetes.volumes import read_place, write_place
from nuwrap.platforms.kubernetes_cluster import check_shared
from nuwrap.spec.claims import is_in_claim, parse_claim
from nuwrap_runtime.launch import Launch


@dataclass(frozen=True)
class Claims:
    """A launch whose inputs are where the pod has them. `read` and `written` are names of claims, `output` the folder
    that the pod writes to, "" for none: the launch keeps its address, which is what others know it by.

    `paths` maps a path in the pod to its address.
    """

    launch: Launch
    read: Sequence[str] = ()
    written: str = ""
    output: str = ""
    paths: Mapping[str, str] = field(default_factory=dict)


def mount_claims(launch: Launch, cluster: Cluster) -> Claims:
    """Return what the run has in claims; each is there, and the project's.

    Raises SpecError for an address that cannot be one, PlatformError for another's claim, or one that there is not.
    """
    entities, paths, read = dict(launch.entities), {}, []
    for key, one in launch.entities.items():
        address = str(one["path"])
        if is_in_claim(address):
            claim, path = _place(key, address)
            place = f"{read_place(claim)}/{path}".rstrip("/")
            entities[key], paths[place] = {**one, "path": place}, address
            read.append(claim)
    written, path = _place("output_path", launch.output_path) if is_in_claim(launch.output_path) else ("", "")
    check_shared(cluster, launch.project, dict.fromkeys(filter(None, (written, *read))), "claim")
    output = f"{write_place(written)}/{path}".rstrip("/") if written else ""
    return Claims(replace(launch, entities=entities), sorted(set(read)), written, output, paths)


def _place(what: str, address: str) -> tuple[str, str]:
    try:
        found = parse_claim(address)
    except SpecError as exc:
        raise SpecError(f"{what}: {exc}") from exc
    return found.claim, found.path
