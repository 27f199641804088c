"""Whom a kubeconfig, or the pod that this runs in, names: the one user of the official client.

Of it only what reads a configuration and keeps a log-in fresh is used: exec plugins of every version, OIDC, tokens that
change. Its typed models take 0.7 s to import and are not needed for plain documents.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from nuwrap.errors import PlatformError

DEFAULT_FILE: Final = "~/.kube/config"
ACCOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount"


@dataclass(frozen=True)
class Where:
    """A cluster, for messages: the context's name, the server's address, the namespace and the kubeconfig's user."""

    context: str
    server: str
    namespace: str
    user: str


def find_cluster(environ: Mapping[str, str], context: str, namespace: str) -> tuple[Any, Where]:
    """Return the client's configuration and whom it is for. Raises PlatformError."""
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
            where = _of_file(os.pathsep.join(there), context, configuration)
        elif os.path.exists(f"{ACCOUNT}/token") and not environ.get("KUBECONFIG"):
            where = _of_pod(environ, configuration)
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
    wanted = namespace or where.namespace
    return configuration, Where(where.context, configuration.host, wanted, where.user)


def _has_login(configuration: Any) -> bool:
    return bool(configuration.api_key or configuration.cert_file or configuration.username)


def _of_file(files: str, context: str, configuration: Any) -> Where:
    from kubernetes.config import list_kube_config_contexts, load_kube_config

    contexts, active = list_kube_config_contexts(files)  # type: ignore[no-untyped-call]
    names = [one["name"] for one in contexts]
    if context and context not in names:
        raise PlatformError(f"context {context!r} is not in the kubeconfig {files!r}; there is: {', '.join(names)}")
    found = next((one for one in contexts if one["name"] == context), active)
    with _told() as told:
        load_kube_config(  # type: ignore[no-untyped-call]
            files, context=found["name"], client_configuration=configuration
        )
    about = found["context"]
    user = str(about.get("user", ""))
    if configuration.host.startswith("https:") and not _has_login(configuration):
        raise PlatformError(
            f"user {user!r} of the kubeconfig {files!r} gives no log-in: {'; '.join(told) or 'it has none'}; install "
            "the program that gives it, or log in by hand"
        )
    return Where(found["name"], configuration.host, about.get("namespace") or "default", user)


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


def _of_pod(environ: Mapping[str, str], configuration: Any) -> Where:
    from kubernetes.config import load_incluster_config

    load_incluster_config(client_configuration=configuration, try_refresh_token=True)  # type: ignore[no-untyped-call]
    with open(f"{ACCOUNT}/namespace", encoding="utf-8") as stream:
        namespace = stream.read().strip()
    return Where("in-cluster", configuration.host, namespace, environ.get("HOSTNAME", "") or "service account")
