"""Which rights of each action the user of a namespace has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Final

from nuwrap.cli.programs import Finding
from nuwrap.cluster.client import Cluster
from nuwrap.cluster.connecting import ACCOUNT_USER
from nuwrap.cluster.rights import MEANINGS, RIGHTS, Right

NEEDED: Final = ("job", "serve")  # nothing can run without the one or the other


def find_rights(cluster: Cluster, builds_in: str) -> Iterator[Finding]:
    """Yield a finding for each action; builds have a namespace of their own. Raises ClusterError."""
    missing = _missing(cluster, builds_in)
    nothing_runs = all(missing[action] for action in NEEDED)
    for action, lacks in missing.items():
        name, count = f"rights: {action}", sum(len(one.verbs) for one in RIGHTS[action])
        is_needed = action in NEEDED and nothing_runs
        if not lacks:
            yield Finding(name, f"all {count}")
            continue
        told = "; ".join(f"{', '.join(one.verbs)} {one.resource}" for one in lacks)
        lack = f"user {cluster.where.user!r} may not {told}: needed by {MEANINGS[action]}"
        where = _place(cluster, action, builds_in)
        mend = f"kubectl -n {where} create rolebinding NAME --role=nuwrap-{action} {_subject(cluster.where.user)}"
        found = f"{count - sum(len(one.verbs) for one in lacks)} of {count}"
        yield Finding(name, found, lack, mend, is_needed=is_needed)


def _subject(user: str) -> str:
    """Return the option that binds a Role to who asks; of a person a kubeconfig's name is not the cluster's."""
    account = user.removeprefix(ACCOUNT_USER)
    return f"--serviceaccount={account}" if account != user else "--user=USER"


def _place(cluster: Cluster, action: str, builds_in: str) -> str:
    return builds_in if action == "build" else cluster.namespace


def _missing(cluster: Cluster, builds_in: str) -> dict[str, list[Right]]:
    """Return for each action what may not be done; each right is asked about once."""

    @cache
    def may(verb: str, kind: str, subresource: str, where: str) -> bool:
        return cluster.allowed(verb, kind, namespace=where, subresource=subresource)

    def refused(right: Right, where: str) -> Right:
        verbs = tuple(verb for verb in right.verbs if not may(verb, right.kind, right.subresource, where))
        return replace(right, verbs=verbs)

    found = {}
    for action, rights in RIGHTS.items():
        where = _place(cluster, action, builds_in)
        found[action] = [lack for lack in (refused(right, where) for right in rights) if lack.verbs]
    return found
