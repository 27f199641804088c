"""Which rights of each action the user of a namespace has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from nuwrap.cli.programs import Finding
from nuwrap.cluster.client import Cluster
from nuwrap.cluster.rights import MEANINGS, RIGHTS, Right

NEEDED: Final = ("job", "serve")  # nothing can run without the one or the other


def find_rights(cluster: Cluster) -> Iterator[Finding]:
    """Yield a finding for each action. Raises ClusterError."""
    missing = _missing(cluster)
    nothing_runs = all(missing[action] for action in NEEDED)
    for action, lacks in missing.items():
        name, count = f"rights: {action}", sum(len(one.verbs) for one in RIGHTS[action])
        is_needed = action in NEEDED and nothing_runs
        if not lacks:
            yield Finding(name, f"all {count}")
            continue
        told = "; ".join(f"{', '.join(one.verbs)} {one.resource}" for one in lacks)
        lack = f"user {cluster.where.user!r} may not {told}: needed by {MEANINGS[action]}"
        mend = f"kubectl -n {cluster.namespace} create rolebinding NAME --role=nuwrap-{action} --user=USER"
        found = f"{count - sum(len(one.verbs) for one in lacks)} of {count}"
        yield Finding(name, found, lack, mend, is_needed=is_needed)


def _missing(cluster: Cluster) -> dict[str, list[Right]]:
    """Return for each action what may not be done; each right is asked about once."""
    answers: dict[tuple[str, str, str], bool] = {}
    for right in (one for rights in RIGHTS.values() for one in rights):
        for verb in right.verbs:
            key = (verb, right.kind, right.subresource)
            if key not in answers:
                where = cluster.namespace
                answers[key] = cluster.allowed(verb, right.kind, namespace=where, subresource=right.subresource)
    return {action: list(_refused(rights, answers)) for action, rights in RIGHTS.items()}


def _refused(rights: Iterable[Right], answers: Mapping[tuple[str, str, str], bool]) -> Iterator[Right]:
    for right in rights:
        verbs = tuple(verb for verb in right.verbs if not answers[verb, right.kind, right.subresource])
        if verbs:
            yield replace(right, verbs=verbs)
