"""`nuwrap doctor --platform kubernetes`: what a namespace gives its user, what each lack means, and what mends it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from nuwrap.cli.cluster_limits import find_limits
from nuwrap.cli.cluster_rights import find_rights
from nuwrap.cli.programs import Finding
from nuwrap.cluster.client import Cluster, ClusterError
from nuwrap.errors import NuwrapError, PlatformError
from nuwrap.plan.kubernetes.labels import PROJECT_LABEL, label_value
from nuwrap.platforms.kubernetes_cluster import builds_settings, check_shared, connect_for, read_profiles
from nuwrap.spec.claims import is_in_claim, parse_claim
from nuwrap.store.config import read_config
from nuwrap.store.home import home_folder

OLDEST: Final = (1, 30)
LEVEL: Final = "pod-security.kubernetes.io/enforce"
DEFAULT_CLASS: Final = "storageclass.kubernetes.io/is-default-class"
LOGIN_TYPES: Final = ("kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg")
Settings = Mapping[str, Any]


def find_in_cluster(project: str) -> Iterator[Finding]:
    """Yield what the cluster of the settings has for runs of the project; makes nothing there."""
    try:
        settings = read_config(home_folder(os.environ)).values
        cluster = connect_for(settings, project, os.environ)
        builds = connect_for(builds_settings(settings), project, os.environ)
    except NuwrapError as exc:
        yield Finding("cluster", "", str(exc), "nuwrap config set kubernetes.context NAME", is_needed=True)
        return
    try:
        yield _version(cluster)
        yield _who(cluster)
        yield _unless_hidden("namespace", cluster, _namespace)
        yield _unless_hidden("pod security", builds, partial(_pod_security, cluster.namespace))
        yield from find_rights(cluster, builds.namespace)
        yield _unless_hidden("storage class", cluster, partial(_storage_class, settings))
        for name in settings["kubernetes.pull_secrets"]:
            yield _unless_hidden(f"pull secret {name}", cluster, partial(_login, "pull", name))
        if settings["kubernetes.push_secret"]:
            name = str(settings["kubernetes.push_secret"])
            yield _unless_hidden(f"push secret {name}", builds, partial(_login, "push", name))
        yield from (_unless_hidden(name, cluster, ask) for name, ask in find_limits())
        yield _unless_hidden("profiles", cluster, partial(_profiles, settings))
        yield _unless_hidden("artifacts_store", cluster, partial(_store, settings, project))
    except ClusterError as exc:
        yield Finding("answers", "", str(exc), f"kubectl --context {cluster.where.context} version", is_needed=True)
    except (TypeError, ValueError, KeyError, AttributeError):  # documents of a shape that no API server sends
        lack = f"{cluster.where.server} does not answer as an API server"
        yield Finding("answers", "", lack, "nuwrap config set kubernetes.context NAME", is_needed=True)


def _unless_hidden(name: str, cluster: Cluster, ask: Callable[[Cluster], Finding]) -> Finding:
    """Return the finding; where this user may not look, that. Raises ClusterError for what else fails."""
    try:
        return ask(cluster)
    except ClusterError as exc:
        if exc.status != 403:
            raise
        return Finding(name, f"not known: {str(exc).partition(': ')[2]}")


def _version(cluster: Cluster) -> Finding:
    told = cluster.version()
    parts = re.match(r"v(\d+)\.(\d+)", told)
    if not parts:
        raise ValueError(told)
    found = f"Kubernetes {told} at {cluster.where.server}"
    if (int(parts[1]), int(parts[2])) >= OLDEST:
        return Finding("cluster", found, is_needed=True)
    lack = "nuwrap needs Kubernetes {}.{} or newer".format(*OLDEST)
    return Finding("cluster", found, lack, "nuwrap config set kubernetes.context NAME", is_needed=True)


def _who(cluster: Cluster) -> Finding:
    where = cluster.where
    return Finding("context", f"{where.context}, namespace {where.namespace}, user {where.user}")


def _namespace(cluster: Cluster) -> Finding:
    name = cluster.namespace
    if cluster.get("Namespace", name):
        return Finding("namespace", name, is_needed=True)
    lack = f"there is no namespace {name!r}: nothing can run there"
    return Finding("namespace", "", lack, f"kubectl create namespace {name}", is_needed=True)


def _pod_security(runs_in: str, builds: Cluster) -> Finding:
    """Return what the namespace of builds takes; jobs and services are restricted, and go everywhere."""
    found = builds.get("Namespace", builds.namespace) or {"metadata": {}}
    level = (found["metadata"].get("labels") or {}).get(LEVEL, "")
    where = "" if builds.namespace == runs_in else f", in namespace {builds.namespace} of builds"
    if level != "restricted":
        return Finding("pod security", f"{level or 'no label: what the cluster has for all'}{where}")
    lack = f"no images can be built in namespace {builds.namespace}, as kaniko is root; jobs and services can run"
    return Finding("pod security", f"{level}{where}", lack, "nuwrap config set kubernetes.build_namespace NAME")


def _storage_class(settings: Settings, cluster: Cluster) -> Finding:
    found = {one["metadata"]["name"]: one["metadata"].get("annotations") or {} for one in cluster.list("StorageClass")}
    wanted = str(settings["kubernetes.storage_class"])
    default = next((name for name, about in found.items() if about.get(DEFAULT_CLASS) == "true"), "")
    mend = f"nuwrap config set kubernetes.storage_class {next(iter(found), 'NAME')}"
    if wanted in found or (default and not wanted):
        return Finding("storage class", wanted or f"{default}, the cluster's default")
    if wanted:
        return Finding("storage class", "", f"the cluster has no class {wanted!r}: claims of runs wait forever", mend)
    lack = "the cluster has no default class: claims that name none wait forever; runs without claims need none"
    return Finding("storage class", "", lack, mend)


def _login(use: str, name: str, cluster: Cluster) -> Finding:
    found = cluster.get("Secret", name)
    kind = str((found or {}).get("type", ""))
    title = f"{use} secret {name}"
    mend = f"kubectl -n {cluster.namespace} create secret docker-registry {name} --from-file=.dockerconfigjson=FILE"
    if kind in LOGIN_TYPES:
        return Finding(title, kind)
    if found is None:
        lack = f"it is not there: a registry that asks for a log-in takes no {use}"
        return Finding(title, "", lack, mend)
    return Finding(title, kind, "no node takes it for a log-in: its type is none of a registry's", mend)


def _profiles(settings: Settings, cluster: Cluster) -> Finding:
    where = str(settings["kubernetes.profiles"])
    if not where:
        return Finding("profiles", "none set: a run that names one is refused")
    try:
        names = sorted(read_profiles(cluster, where))
    except ClusterError:
        raise
    except PlatformError as exc:
        return Finding("profiles", "", str(exc), "nuwrap config set kubernetes.profiles FOLDER, or configmap:NAME")
    return Finding("profiles", f"{', '.join(names) or 'none'}, in {where}")


def _store(settings: Settings, project: str, cluster: Cluster) -> Finding:
    place = str(settings["artifacts_store"])
    if is_in_claim(place):
        return _claim(place, project, cluster)
    if place:
        return Finding("artifacts_store", place)
    lack = "a run that logs a file fails, and code and inputs of this machine go along up to 700 KiB; results come back"
    return Finding("artifacts_store", "", lack, "nuwrap config set artifacts_store s3://BUCKET/FOLDER")


def _claim(place: str, project: str, cluster: Cluster) -> Finding:
    """Tell of a claim that is the store, and whose it is."""
    name = parse_claim(place).claim
    if cluster.get("PersistentVolumeClaim", name) is None:
        lack = f"namespace {cluster.namespace!r} has no claim {name!r}: jobs are refused"
        return Finding("artifacts_store", "", lack, "nuwrap config set artifacts_store pvc://CLAIM/FOLDER")
    try:
        check_shared(cluster, project, [name], "claim")
    except ClusterError:
        raise
    except PlatformError as exc:
        mend = f"kubectl label persistentvolumeclaim {name} {PROJECT_LABEL}={label_value(project)}"
        return Finding("artifacts_store", "", str(exc), mend)
    return Finding("artifacts_store", f"{place}, for outputs; code and inputs of this machine go along up to 700 KiB")
