"""A cluster as nuwrap asks it: plain documents in, plain documents out, one error that says what to do."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from http import HTTPStatus
from typing import IO, Any, Final

from nuwrap.cluster.connecting import Access, Where, find_cluster
from nuwrap.cluster.errors import ClusterError
from nuwrap.cluster.kinds import find_kind
from nuwrap.cluster.login import UNKNOWN, Login
from nuwrap.cluster.transport import Transport

__all__ = ["Cluster", "ClusterError", "Where", "connect"]

PAGE: Final = 500
LINE_BYTES: Final = 16 * 1024 * 1024  # the API server keeps no object of more than 1.5 MiB
MANAGER: Final = "nuwrap"
WATCH_PAUSE_S: Final = 0.5  # between two connections of a watch
WATCH_CUT_S: Final = 240.0  # of one: a connection that died without a word is found out
QUIET_S: Final = 3600.0  # a log may say nothing for long; the server cuts what is dead
Document = Mapping[str, Any]
Labels = Mapping[str, str] | str


def connect(environ: Mapping[str, str], *, context: str = "", namespace: str = "") -> Cluster:
    """Return the cluster that `KUBECONFIG`, `~/.kube/config` or the pod that this runs in names; nothing is asked yet.

    Raises PlatformError.
    """
    access = find_cluster(environ, context, namespace)
    where, kept = access.where, dict(environ)

    def again() -> Access:
        """The context stays the one that was found: another may be the current one by then."""
        return find_cluster(kept, where.context, where.namespace)

    return Cluster(Login(access, again), where)


class Cluster:
    """One cluster and namespace. Every method raises ClusterError for what is refused or not answered."""

    def __init__(self, login: Login, where: Where) -> None:
        self._login = login
        self._transport = Transport(login)
        self.where = where

    @property
    def namespace(self) -> str:
        """The namespace that is meant where none is given."""
        return self.where.namespace

    @property
    def is_logged_out(self) -> bool:
        """Whether the server did not know who asks when it was asked last. It is asked again once in a while."""
        return self._login.is_out

    def version(self) -> str:
        """Return the API server's version, as `v1.33.1`."""
        found = self._transport.ask("GET", "/version", what="ask for the version")
        return str(found.get("gitVersion", ""))

    def get(self, kind: str, name: str, *, namespace: str = "") -> dict[str, Any] | None:
        """Return the object, None when there is none."""
        path = find_kind(kind).path(namespace or self.namespace, name)
        try:
            return self._transport.ask("GET", path, what=self._what("get", kind, name, namespace))
        except ClusterError as exc:
            if exc.status == 404:
                return None
            raise

    def list(self, kind: str, *, labels: Labels = "", fields: str = "", namespace: str = "") -> list[dict[str, Any]]:
        """Return all objects that fit."""
        path = find_kind(kind).path(namespace or self.namespace)
        query = {**_selectors(labels, fields), "limit": str(PAGE)}
        found: list[dict[str, Any]] = []
        while True:
            try:
                page = self._transport.ask("GET", path, query=query, what=self._what("list", kind, "", namespace))
            except ClusterError as exc:
                if exc.status != 410 or "continue" not in query:
                    raise
                found.clear()  # the pages that follow are not known any more: all again
                del query["continue"]
                continue
            found += page.get("items") or []
            following = (page.get("metadata") or {}).get("continue")
            if not following:
                return found
            query["continue"] = following

    def create(self, manifest: Document, *, dry_run: bool = False) -> dict[str, Any]:
        """Create the object and return it as the server has it; with `dry_run` the server only checks it."""
        kind, name, namespace = _identity(manifest)
        path = find_kind(kind).path(namespace or self.namespace)
        query = {"fieldManager": MANAGER, **({"dryRun": "All"} if dry_run else {})}
        what = self._what("create", kind, name, namespace)
        return self._transport.ask("POST", path, query=query, body=dict(manifest), what=what)

    def apply(self, manifest: Document, *, dry_run: bool = False) -> dict[str, Any]:
        """Create the object, or make the one that is there what the manifest says, and return it."""
        kind, name, namespace = _identity(manifest)
        path = find_kind(kind).path(namespace or self.namespace, name)
        query = {"fieldManager": MANAGER, "force": "true", **({"dryRun": "All"} if dry_run else {})}
        what = self._what("apply", kind, name, namespace)
        return self._transport.ask(
            "PATCH", path, query=query, body=dict(manifest), content_type="application/apply-patch+yaml", what=what
        )

    def patch(self, kind: str, name: str, change: Document, *, namespace: str = "") -> dict[str, Any]:
        """Change the object by a merge patch and return it."""
        path = find_kind(kind).path(namespace or self.namespace, name)
        what = self._what("patch", kind, name, namespace)
        return self._transport.ask(
            "PATCH",
            path,
            query={"fieldManager": MANAGER},
            body=dict(change),
            content_type="application/merge-patch+json",
            what=what,
        )

    def delete(
        self, kind: str, name: str, *, namespace: str = "", propagation: str = "Background", grace_s: int | None = None
    ) -> bool:
        """Remove the object, and what belongs to it; False when there was none."""
        path = find_kind(kind).path(namespace or self.namespace, name)
        query = {"propagationPolicy": propagation}
        if grace_s is not None:
            query["gracePeriodSeconds"] = str(grace_s)
        try:
            self._transport.ask("DELETE", path, query=query, what=self._what("delete", kind, name, namespace))
        except ClusterError as exc:
            if exc.status == 404:
                return False
            raise
        return True

    def watch(
        self, kind: str, *, labels: Labels = "", fields: str = "", namespace: str = "", timeout_s: float
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the objects that there are as ADDED, then each that is ADDED, MODIFIED or DELETED, until `timeout_s`.

        A connection that is cut, or refused for a while, is made again, and what has changed since comes; a log-in that
        runs out meanwhile is waited for.
        """
        path = find_kind(kind).path(namespace or self.namespace)
        what = self._what("watch", kind, "", namespace)
        until = time.monotonic() + timeout_s
        known: dict[str, dict[str, Any]] = {}
        has_begun = False
        while True:
            try:
                page = self._transport.ask("GET", path, query=_selectors(labels, fields), what=what)
                has_begun = True
                yield from _compare(known, page.get("items") or [])
                left = min(until - time.monotonic(), WATCH_CUT_S)
                if left <= 0:
                    return
                version = str((page.get("metadata") or {}).get("resourceVersion", ""))
                query = {**_selectors(labels, fields), "watch": "true", "resourceVersion": version}
                query["timeoutSeconds"] = str(max(1, int(left)))
                yield from self._watch_once(path, query, what, known, left)
            except ClusterError as exc:  # an outage; what is known outlives it, so that nothing is missed
                if not (exc.passes or (has_begun and exc.status == UNKNOWN)):
                    raise
            if time.monotonic() >= until:
                return
            time.sleep(WATCH_PAUSE_S)

    def _watch_once(
        self, path: str, query: Mapping[str, str], what: str, known: dict[str, dict[str, Any]], left: float
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield changes until the connection ends, for whatever reason."""
        try:
            with self._transport.stream(path, query=query, read_s=left + 10, what=what) as pieces:
                for line in _lines(pieces):
                    change = json.loads(line)
                    if change.get("type") == "ERROR":  # 410: what has changed since is not known any more
                        return
                    if change.get("type") == "BOOKMARK":
                        continue
                    one = change["object"]
                    _note(known, change["type"], one)
                    yield change["type"], one
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            text = f"{self.where.server} does not tell changes as an API server"
            raise ClusterError(f"cannot {what}: {text}", status=HTTPStatus.OK) from exc

    @contextmanager
    def log(
        self,
        pod: str,
        *,
        container: str = "",
        follow: bool = False,
        since: str = "",
        timestamps: bool = False,
        namespace: str = "",
    ) -> Iterator[Iterator[bytes]]:
        """Give what a container printed, with `follow` what it prints until its end; `since` is a moment (RFC 3339)."""
        path = find_kind("Pod").path(namespace or self.namespace, pod, "log")
        query = {name: "true" for name, on in (("follow", follow), ("timestamps", timestamps)) if on}
        query |= {"container": container} if container else {}
        query |= {"sinceTime": since} if since else {}
        what = self._what("read the log of", "Pod", pod, namespace)
        with self._transport.stream(path, query=query, read_s=QUIET_S, what=what) as pieces:
            yield pieces

    def forward(self, pod: str | Callable[[], str], port: int, *, namespace: str = "") -> AbstractContextManager[Any]:
        """Give a port of this machine's loopback address that leads to the pod's, while the body lasts, as `.port`.

        A callable is asked for the pod with each connection.
        """
        from nuwrap.cluster.forwarding import forward

        pick = pod if callable(pod) else lambda: str(pod)
        return forward(self._login, namespace or self.namespace, pick, port)

    def exec(
        self, pod: str, argv: Sequence[str], *, container: str = "", stdin: IO[bytes] | None = None, namespace: str = ""
    ) -> tuple[int, bytes, bytes]:
        """Run a program in a container and return its exit code, what it printed and what it said."""
        from nuwrap.cluster.executing import execute

        path = find_kind("Pod").path(namespace or self.namespace, pod, "exec")
        return execute(self._login, path, argv, container=container, stdin=stdin)

    def allowed(self, verb: str, kind: str, *, namespace: str = "", name: str = "", subresource: str = "") -> bool:
        """Tell whether who asks may do that; of a kind that is of no namespace, in one that is given."""
        found = find_kind(kind)
        attributes = {
            "namespace": namespace or (self.namespace if found.has_namespace else ""),
            "verb": verb,
            "group": found.group,
            "resource": found.plural,
            "subresource": subresource,
            "name": name,
        }
        review = self.create(
            {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "metadata": {},
                "spec": {"resourceAttributes": attributes},
            }
        )
        return bool(review.get("status", {}).get("allowed"))

    def _what(self, verb: str, kind: str, name: str, namespace: str) -> str:
        where = f" in namespace {namespace or self.namespace!r}" if find_kind(kind).has_namespace else ""
        return f"{verb} {kind}{f' {name!r}' if name else 's'}{where}"


def _identity(manifest: Document) -> tuple[str, str, str]:
    about = manifest["metadata"]
    return str(manifest["kind"]), str(about.get("name", "")), str(about.get("namespace", ""))


def _selectors(labels: Labels, fields: str) -> dict[str, str]:
    text = labels if isinstance(labels, str) else ",".join(f"{name}={one}" for name, one in labels.items())
    return {name: one for name, one in (("labelSelector", text), ("fieldSelector", fields)) if one}


def _compare(known: dict[str, dict[str, Any]], now: Sequence[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield how what there is differs from what was known, and know it."""
    there = {_key(one): one for one in now}
    for key in [key for key in known if key not in there]:
        yield "DELETED", known.pop(key)
    for key, one in there.items():
        before = known.get(key)
        known[key] = one
        if before is None:
            yield "ADDED", one
        elif before["metadata"].get("resourceVersion") != one["metadata"].get("resourceVersion"):
            yield "MODIFIED", one


def _note(known: dict[str, dict[str, Any]], kind: str, one: dict[str, Any]) -> None:
    if kind == "DELETED":
        known.pop(_key(one), None)
    else:
        known[_key(one)] = one


def _key(one: Document) -> str:
    about = one["metadata"]
    return f"{about.get('namespace', '')}/{about['name']}/{about.get('uid', '')}"


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield whole lines: one that a connection's end has cut is left out. Raises ValueError for one without an end."""
    kept = b""
    for piece in pieces:
        *whole, kept = (kept + piece).split(b"\n")
        yield from (line for line in whole if line.strip())
        if len(kept) > LINE_BYTES:
            raise ValueError(f"a line of more than {LINE_BYTES} bytes")
