"""Whom a kubeconfig, or the pod that this runs in, names: the one user of the official client.

Of it only what reads a configuration and keeps a log-in fresh is used: exec plugins of every version, OIDC, tokens that
change. Its typed models take 0.7 s to import and are not needed for plain documents.
"""

from __future__ import annotations

import base64
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from nuwrap.cluster.impersonation import impersonation
from nuwrap.errors import PlatformError

DEFAULT_FILE: Final = "~/.kube/config"
ACCOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
ACCOUNT_USER: Final = "system:serviceaccount:"  # kubernetes.io/docs/reference/access-authn-authz/authentication


@dataclass(frozen=True)
class Where:
    """A cluster, for messages: the context's name, the server's address, the namespace and the kubeconfig's user."""

    context: str
    server: str
    namespace: str
    user: str


@dataclass(frozen=True)
class Access:
    """The client's configuration, whom it is for, and the headers that make who asks somebody else."""

    configuration: Any
    where: Where
    impersonation: Sequence[tuple[str, str]] = ()


def find_cluster(environ: Mapping[str, str], context: str, namespace: str) -> Access:
    """Read how the cluster is reached, and who asks. Raises PlatformError."""
    try:
        from kubernetes.client import Configuration
        from kubernetes.config import ConfigException
    except ImportError as exc:
        raise PlatformError(
            "a cluster needs the Kubernetes client, which is not installed: `pip install 'nuwrap[kubernetes]'`"
        ) from exc
    configuration = Configuration()
    files = environ.get("KUBECONFIG", "") or os.path.expanduser(DEFAULT_FILE)
    there = [one for one in files.split(os.pathsep) if one and os.path.exists(one)]
    try:
        if there:
            found = _of_file(os.pathsep.join(there), context, configuration)
        elif os.path.exists(f"{ACCOUNT}/token") and not environ.get("KUBECONFIG"):
            found = _of_pod(environ, configuration)
        else:
            raise PlatformError(
                f"there is no kubeconfig: {files!r} does not exist; set KUBECONFIG to one, or write {DEFAULT_FILE}"
            )
    except ConfigException as exc:
        what = str(exc).partition("{")[0].strip()  # it quotes a user's whole entry, tokens included
        raise PlatformError(f"the kubeconfig {files!r} cannot be used: {what}") from None
    except PlatformError:
        raise
    except Exception as exc:  # whatever a damaged file is read as
        raise PlatformError(f"the kubeconfig {files!r} cannot be read: {type(exc).__name__}") from exc
    return replace(found, where=replace(found.where, namespace=namespace or found.where.namespace))


def _has_login(configuration: Any) -> bool:
    return bool(configuration.api_key or configuration.cert_file or configuration.username)


def _of_file(files: str, context: str, configuration: Any) -> Access:
    from kubernetes.config.kube_config import KubeConfigLoader, KubeConfigMerger

    merged = KubeConfigMerger(files)  # type: ignore[no-untyped-call]
    contexts = {one["name"]: one["context"] for one in _entries(merged, "contexts")}
    if context and context not in contexts:
        raise PlatformError(f"context {context!r} is not in the kubeconfig {files!r}; there is: {', '.join(contexts)}")
    name = context or _current(merged)
    with _told() as told:
        KubeConfigLoader(  # type: ignore[no-untyped-call]
            merged.config, active_context=name or None, config_base_path=None, config_persister=merged.save_changes
        ).load_and_set(configuration)
    about = contexts[name]
    user = str(about.get("user", ""))
    if configuration.host.startswith("https:") and not _has_login(configuration):
        raise PlatformError(
            f"user {user!r} of the kubeconfig {files!r} gives no log-in: {'; '.join(told) or 'it has none'}; install "
            "the program that gives it, or log in by hand"
        )
    who = next((one.get("user") or {} for one in _entries(merged, "users") if one["name"] == user), {})
    where = Where(name, configuration.host, about.get("namespace") or "default", user)
    return Access(configuration, where, impersonation(who, f"user {user!r} of the kubeconfig {files!r}"))


def _entries(merged: Any, part: str) -> list[dict[str, Any]]:
    return [one.value for one in merged.config[part]]


def _current(merged: Any) -> str:
    """Return the first current-context that is set, as kubectl takes it; the client takes the last."""
    return next((one["current-context"] for one in merged.config_files.values() if one.get("current-context")), "")


@contextmanager
def _told() -> Iterator[list[str]]:
    """Keep what is logged meanwhile: the client logs why a log-in fails, and goes on as nobody."""
    told: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    keep = Keep(logging.ERROR)
    logging.getLogger().addHandler(keep)
    try:
        yield told
    finally:
        logging.getLogger().removeHandler(keep)


def _of_pod(environ: Mapping[str, str], configuration: Any) -> Access:
    from kubernetes.config import load_incluster_config

    load_incluster_config(client_configuration=configuration, try_refresh_token=True)  # type: ignore[no-untyped-call]
    with open(f"{ACCOUNT}/namespace", encoding="utf-8") as stream:
        namespace = stream.read().strip()
    with open(f"{ACCOUNT}/token", encoding="utf-8") as stream:
        user = name_account(stream.read()) or environ.get("HOSTNAME", "")
    return Access(configuration, Where("in-cluster", configuration.host, namespace, user))


def name_account(token: str) -> str:
    """Return whose token it is, `system:serviceaccount:NAMESPACE:NAME`, "" where it does not say; nothing is proven."""
    part = token.strip().partition(".")[2].partition(".")[0]
    try:
        told = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))["sub"]
    except (ValueError, TypeError, KeyError):
        return ""
    return told if isinstance(told, str) and told.startswith(ACCOUNT_USER) else ""
