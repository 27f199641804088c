"""What of a namespace a run needs: its secrets, shared claims and profile, looked up before anything is made."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, Final

from nuwrap.cluster.client import Cluster, connect
from nuwrap.cluster.sharing import share
from nuwrap.errors import NotFound, PlatformError
from nuwrap.plan.kubernetes.labels import KIND_LABEL, PROJECT_LABEL, RUN_LABEL, label_value, object_name
from nuwrap.platforms.kubernetes_wanted import Wanted
from nuwrap.spec.document import parse_documents
from nuwrap_runtime.schema import did_you_mean

PROFILE_BYTES: Final = 256 * 1024
SECRETS_KIND, CREDENTIALS_KIND, STORE_KIND = "secrets", "source-credentials", "store-credentials"


def share_watches() -> None:
    """See `platforms.share_watches`."""
    share(RUN_LABEL)


def connect_for(settings: Mapping[str, Any], project: str, environ: Mapping[str, str]) -> Cluster:
    """Return the cluster and namespace of a project's runs. Raises PlatformError."""
    pattern = str(settings.get("kubernetes.namespace", ""))
    namespace = pattern.replace("{project}", object_name(project)) if pattern else ""
    return connect(environ, context=str(settings.get("kubernetes.context", "")), namespace=namespace)


def builds_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings by which builds find their namespace."""
    return {
        **settings,
        "kubernetes.namespace": settings["kubernetes.build_namespace"] or settings["kubernetes.namespace"],
    }


def connect_again(wanted: Wanted, environ: Mapping[str, str]) -> Cluster:
    """Return the cluster and namespace that a run was placed in. Raises PlatformError."""
    return connect(environ, context=wanted.context, namespace=wanted.namespace)


def find_secrets(cluster: Cluster, project: str, kind: str = SECRETS_KIND) -> dict[str, str]:
    """Return which keys the project's labelled Secrets have: the name of the Secret by key. The first one counts."""
    labels = {KIND_LABEL: kind, PROJECT_LABEL: label_value(project)}
    found: dict[str, str] = {}
    for secret in sorted(cluster.list("Secret", labels=labels), key=lambda one: str(one["metadata"]["name"])):
        for key in secret.get("data") or {}:
            found.setdefault(key, secret["metadata"]["name"])
    return found


def no_secret(name: str, there: Iterable[str], project: str, cluster: Cluster, *, is_here: bool) -> NotFound:
    """Return the error of a secret that the namespace lacks and that is not sent; `there` are those that it has."""
    hint = "; this machine has it: `nuwrap config set kubernetes.send_secrets true` sends it" if is_here else ""
    return NotFound(
        f"secret {name!r}: no Secret of namespace {cluster.namespace!r} that is labelled for project {project!r} has "
        f"such a key{did_you_mean(name, list(there))}; there is: {', '.join(sorted(there)) or 'none'}{hint}"
    )


def check_shared(cluster: Cluster, project: str, claims: Iterable[str], what: str = "shared volume") -> None:
    """See that each claim is there and the project's; `what` is how messages call one. Raises PlatformError."""
    for name in claims:
        claim = cluster.get("PersistentVolumeClaim", name)
        if claim is None:
            names = [one["metadata"]["name"] for one in cluster.list("PersistentVolumeClaim", labels=_of(project))]
            near = did_you_mean(name, names)
            raise PlatformError(
                f"{what} {name!r}: namespace {cluster.namespace!r} has no such claim{near}; "
                f"of project {project!r} there is: {', '.join(names) or 'none'}"
            )
        owner = (claim["metadata"].get("labels") or {}).get(PROJECT_LABEL)
        if owner != label_value(project):
            whose = f"of project {owner!r}" if owner else "of no project"
            raise PlatformError(
                f"{what} {name!r} is {whose}, this run of {project!r}; an administrator shares it by the label "
                f"{PROJECT_LABEL}={label_value(project)}"
            )


def _of(project: str) -> dict[str, str]:
    return {PROJECT_LABEL: label_value(project)}


def load_profile(cluster: Cluster, where: str, name: str) -> Mapping[str, Any]:
    """Return the administrator's profile. Raises PlatformError for one that there is not, naming those there are."""
    if not where:
        raise PlatformError(
            f"profile {name!r}: no profiles are set; `nuwrap config set kubernetes.profiles FOLDER`, or configmap:NAME"
        )
    found = read_profiles(cluster, where)
    if name not in found:
        raise PlatformError(
            f"profile {name!r} is not in {where!r}{did_you_mean(name, list(found))}; there is: "
            f"{', '.join(sorted(found)) or 'none'}"
        )
    documents = parse_documents(found[name], f"profile {name!r}") or [{}]
    document = documents[0]
    if not isinstance(document, dict) or len(documents) > 1:
        raise PlatformError(f"profile {name!r} is no mapping; allowed: pod, labels, annotations, resources")
    return document


def read_profiles(cluster: Cluster, where: str) -> dict[str, str]:
    """Return the text of each profile by name. Raises PlatformError."""
    if where.startswith("configmap:"):
        return _of_config_map(cluster, where.partition(":")[2])
    return _of_folder(os.path.expanduser(where))


def _of_config_map(cluster: Cluster, name: str) -> dict[str, str]:
    found = cluster.get("ConfigMap", name)
    if found is None:
        raise PlatformError(f"profiles: namespace {cluster.namespace!r} has no ConfigMap {name!r}")
    data = found.get("data") or {}
    return {key.removesuffix(".yaml"): text for key, text in data.items() if key.endswith(".yaml")}


def _of_folder(folder: str) -> dict[str, str]:
    try:
        names = [name for name in os.listdir(folder) if name.endswith(".yaml")]
        return {name.removesuffix(".yaml"): _read(os.path.join(folder, name)) for name in names}
    except OSError as exc:
        raise PlatformError(f"profiles {folder!r} cannot be read: {exc.strerror}") from exc


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as stream:
        return stream.read(PROFILE_BYTES)
