"""Volumes of a pod: our own places, the run's files, secrets, and what the user asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from nuwrap.plan.kubernetes.request import Pod, RunObjects, SecretItem

WORK, CACHE, TEMPORARY, TREE, RUN = "/work", "/cache", "/tmp", "/opt/nuwrap", "/run/nuwrap"  # noqa: S108 - a pod's
CLAIMS: Final = "/run/nuwrap-claims"
SECRETS: Final = "/run/secrets"
SECRETS_ASIDE: Final = "/etc/nuwrap/secrets"
DEFAULT_SIZE: Final = "2Gi"  # DigitalHub's (core, K8sBuilderHelper.java)
LAUNCH, RECORD = "launch.json", "run.json"


def secret_key(number: int) -> str:
    """Return the key under which the Secret of a run has one of its files: a path is no key."""
    return f"given-{number}"


def plan_volumes(objects: RunObjects, launch_secret: str) -> list[dict[str, Any]]:
    """Return the pod's volumes."""
    pod = objects.pod
    items = [{"key": LAUNCH, "path": LAUNCH}]
    items += [{"key": secret_key(number), "path": path} for number, path in enumerate(objects.given)]
    limit = _limit(pod.resources.get("disk"))
    cache = {"persistentVolumeClaim": {"claimName": pod.cache_claim}} if pod.cache_claim else {"emptyDir": {}}
    found: list[dict[str, Any]] = [
        {"name": "nuwrap-run", "secret": {"secretName": launch_secret, "items": items, "defaultMode": 0o440}},
        {"name": "nuwrap-work", "emptyDir": {"sizeLimit": limit} if limit else {}},
        {"name": "nuwrap-cache", **cache},
        {"name": "nuwrap-tmp", "emptyDir": {}},
    ]
    if pod.is_foreign:
        found.append({"name": "nuwrap-tree", "emptyDir": {}})
    if pod.secrets:
        found.append({"name": "nuwrap-secrets", "projected": {"defaultMode": 0o440, "sources": _sources(pod.secrets)}})
    claims = [{"name": _claim_volume(pod, one), "persistentVolumeClaim": {"claimName": one}} for one in _claims(pod)]
    return [*found, *claims, *(_volume(objects, one) for one in pod.volumes)]


def plan_mounts(objects: RunObjects) -> list[dict[str, Any]]:
    """Return where the function's container has them."""
    pod = objects.pod
    found = [*own_mounts()]
    if pod.is_foreign:
        found.append({"name": "nuwrap-tree", "mountPath": TREE, "readOnly": True})
    if pod.secrets:
        found.append({"name": "nuwrap-secrets", "mountPath": secrets_folder(pod.profile), "readOnly": True})
    if pod.claim_written:
        name = _claim_volume(pod, pod.claim_written)
        found.append({"name": name, "mountPath": write_place(pod.claim_written)})
    return [*found, *claim_mounts(pod), *map(_mount, pod.volumes)]


def secrets_folder(profile: Mapping[str, Any]) -> str:
    """Return where secrets are. Not in /run/secrets where the profile's pod has more below it, as the cluster's token:
    secrets are read-only, and take no folder of another.
    """
    spec = profile.get("pod") or {}
    places = [one.get("mountPath", "") for container in spec.get("containers") or () for one in _mounts(container)]
    has_more = any(f"{place}/".removeprefix("/var").startswith(f"{SECRETS}/") for place in places)
    return SECRETS_ASIDE if has_more or spec.get("automountServiceAccountToken") else SECRETS


def _mounts(container: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return container.get("volumeMounts") or ()


def own_mounts() -> list[dict[str, Any]]:
    """Return what a host needs: what it reads, and the three places that it may write to."""
    return [
        {"name": "nuwrap-run", "mountPath": RUN, "readOnly": True},
        {"name": "nuwrap-work", "mountPath": WORK},
        {"name": "nuwrap-cache", "mountPath": CACHE},
        {"name": "nuwrap-tmp", "mountPath": TEMPORARY},
    ]


def read_place(claim: str) -> str:
    """Return where a pod has a claim that it reads from: what it writes lies elsewhere, be it in the same claim."""
    return f"{CLAIMS}/read/{claim}"


def write_place(claim: str) -> str:
    """Return where a pod has the claim that gets its outputs."""
    return f"{CLAIMS}/write/{claim}"


def claim_mounts(pod: Pod) -> list[dict[str, Any]]:
    """Return where the pod's containers have the claims that they read from."""
    return [
        {"name": _claim_volume(pod, claim), "mountPath": read_place(claim), "readOnly": True}
        for claim in pod.claims_read
    ]


def _claims(pod: Pod) -> list[str]:
    return sorted({*pod.claims_read, *filter(None, [pod.claim_written])})


def _claim_volume(pod: Pod, claim: str) -> str:
    """Return the name of the claim's volume: by number, as a claim's own name may be too long for one."""
    return f"nuwrap-claim-{_claims(pod).index(claim)}"


def claim_specs(objects: RunObjects) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield name and spec of each claim that is made for the run."""
    for one in objects.pod.volumes:
        if one["volume_type"] == "persistent_volume_claim":
            yield claim_name(objects.run, one["name"]), _claim_spec(objects, one.get("spec") or {})


def claim_name(run: str, volume: str) -> str:
    """Return the name of the claim that a run gets for a volume, DigitalHub's."""
    return f"v-{run}-{volume}"


def _mount(one: Mapping[str, Any]) -> dict[str, Any]:
    folder = (one.get("spec") or {}).get("sub_path")
    return {"name": one["name"], "mountPath": one["mount_path"], **({"subPath": folder} if folder else {})}


def _claim_spec(objects: RunObjects, spec: Mapping[str, Any]) -> dict[str, Any]:
    kind = spec.get("storage_class") or objects.pod.storage_class
    found = {
        "accessModes": ["ReadWriteOnce"],
        "volumeMode": "Filesystem",
        "resources": {"requests": {"storage": spec.get("size") or DEFAULT_SIZE}},
    }
    return {**found, "storageClassName": kind} if kind else found


def _volume(objects: RunObjects, one: Mapping[str, Any]) -> dict[str, Any]:
    name, spec = one["name"], one.get("spec") or {}
    kind = one["volume_type"]
    if kind == "persistent_volume_claim":
        return {"name": name, "persistentVolumeClaim": {"claimName": claim_name(objects.run, name)}}
    if kind == "shared_volume":
        return {"name": name, "persistentVolumeClaim": {"claimName": spec.get("claim_name") or name}}
    if kind == "ephemeral":
        return {"name": name, "ephemeral": {"volumeClaimTemplate": {"spec": _claim_spec(objects, spec)}}}
    if kind == "image":
        return {"name": name, "image": {"reference": spec["image"], "pullPolicy": "IfNotPresent"}}
    given = {"sizeLimit": spec.get("size_limit"), "medium": spec.get("medium")}
    return {"name": name, "emptyDir": {key: value for key, value in given.items() if value}}


def _sources(secrets: Sequence[SecretItem]) -> list[dict[str, Any]]:
    names = dict.fromkeys(one.secret_name for one in secrets)
    return [
        {
            "secret": {
                "name": name,
                "items": [{"key": one.key, "path": one.name} for one in secrets if one.secret_name == name],
            }
        }
        for name in names
    ]


def _limit(amount: Any) -> str:
    """Return the most of an amount: its limit, else what is asked for."""
    if isinstance(amount, Mapping):
        return str(amount.get("limits") or amount.get("requests") or "")
    return str(amount or "")
