"""What a namespace's quotas and limit ranges leave for a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from nuwrap.cli.programs import Finding
from nuwrap.cluster.client import Cluster
from nuwrap.spec.quantities import quantity

# What admission wants each container to name when a quota counts it; requests nuwrap names by itself.
DEMANDED: Final = ("limits.cpu", "limits.memory")
# A pod of a run asks for memory and processor, and has no deadline of its own: its Job has it.
OURS: Final = ("NotBestEffort", "NotTerminating")
WITHOUT: Final = ("NotIn", "DoesNotExist")  # operators that take what has none
RUN_WITH: Final = "run with resources={'cpu': {'limits': '1'}, 'mem': '1Gi'}, or keep a LimitRange with defaults"


def find_limits() -> Iterator[tuple[str, Callable[[Cluster], Finding]]]:
    """Yield each question by name."""
    yield "quota", _quota
    yield "limits", _limit_range


def _quota(cluster: Cluster) -> Finding:
    quotas = cluster.list("ResourceQuota")
    if not quotas:
        return Finding("quota", "none")
    lines, full, demanded = [], [], set()
    for one in quotas:
        hard, used = one["status"].get("hard") or {}, one["status"].get("used") or {}
        told = {name: f"{name} {used.get(name, '0')} of {most}" for name, most in hard.items()}
        scopes = list(_scopes(one["spec"]))
        of = f" (of pods that are {', '.join(text for text, _ in scopes)})" if scopes else ""
        lines.append(f"{one['metadata']['name']}{of}: {', '.join(told.values())}")
        if not all(counts for _, counts in scopes):
            continue
        full += [told[name] for name, most in hard.items() if quantity(used.get(name, "0")) >= quantity(most)]
        demanded |= {name for name in DEMANDED if name in hard}
    found = "\n".join(lines)
    if full:
        lack = f"it is used up: {', '.join(full)}; a run that needs more of it waits"
        return Finding("quota", found, lack, "nuwrap ps --platform kubernetes, then nuwrap stop RUN")
    unnamed = sorted(demanded - _defaults(cluster))
    if unnamed:
        return Finding("quota", found, f"a pod that does not name {', '.join(unnamed)} is refused", RUN_WITH)
    return Finding("quota", found)


def _scopes(spec: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Yield each scope of a quota in words, and whether a run that names no priority class is in it."""
    for name in spec.get("scopes") or ():
        yield name, name in OURS
    for one in (spec.get("scopeSelector") or {}).get("matchExpressions") or ():
        name, operator = str(one["scopeName"]), str(one["operator"])
        values = f" {', '.join(one['values'])}" if one.get("values") else ""
        text = name if operator == "Exists" else f"{name} {operator}{values}"
        yield text, name in OURS if operator == "Exists" else operator in WITHOUT


def _defaults(cluster: Cluster) -> set[str]:
    return {f"limits.{name}" for one in _of_containers(cluster) for name in one.get("default") or {}}


def _limit_range(cluster: Cluster) -> Finding:
    told = [
        f"{what} {name} {amount}"
        for one in _of_containers(cluster)
        for what in ("min", "max", "default")
        for name, amount in (one.get(what) or {}).items()
    ]
    return Finding("limits", f"of a container: {', '.join(told)}" if told else "none")


def _of_containers(cluster: Cluster) -> list[Mapping[str, Any]]:
    ranges = cluster.list("LimitRange")
    return [limit for one in ranges for limit in one["spec"]["limits"] if limit["type"] == "Container"]
