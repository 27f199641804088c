"""Whom a kubeconfig, or the pod that this runs in, names: the one user of the official client.

Of it only what reads a configuration and keeps a log-in fresh is used: exec plugins of every version, OIDC, tokens that
change. Its typed models take 0.7 s to import and are not needed for plain documents.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
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
        raise PlatformError(f"the kubeconfig {files!r} cannot be used: {exc}") from exc
    except PlatformError:
        raise
    except Exception as exc:  # whatever a damaged file is read as
        raise PlatformError(f"the kubeconfig {files!r} cannot be read: {exc}") from exc
    wanted = namespace or where.namespace
    return configuration, Where(where.context, configuration.host, wanted, where.user)


def _of_file(files: str, context: str, configuration: Any) -> Where:
    from kubernetes.config import list_kube_config_contexts, load_kube_config

    contexts, active = list_kube_config_contexts(files)  # type: ignore[no-untyped-call]
    names = [one["name"] for one in contexts]
    if context and context not in names:
        raise PlatformError(f"context {context!r} is not in the kubeconfig {files!r}; there is: {', '.join(names)}")
    found = next((one for one in contexts if one["name"] == context), active)
    load_kube_config(files, context=found["name"], client_configuration=configuration)  # type: ignore[no-untyped-call]
    about = found["context"]
    return Where(found["name"], configuration.host, about.get("namespace") or "default", str(about.get("user", "")))


def _of_pod(environ: Mapping[str, str], configuration: Any) -> Where:
    from kubernetes.config import load_incluster_config

    load_incluster_config(client_configuration=configuration, try_refresh_token=True)  # type: ignore[no-untyped-call]
    with open(f"{ACCOUNT}/namespace", encoding="utf-8") as stream:
        namespace = stream.read().strip()
    return Where("in-cluster", configuration.host, namespace, environ.get("HOSTNAME", "") or "service account")
