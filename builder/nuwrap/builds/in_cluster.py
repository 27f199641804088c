"""A build that a cluster does: what is asked of it, and what it would refuse, before anything is fetched or planned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from nuwrap.builds.facts import facts_cache
from nuwrap.builds.pod_images import no_images, pin_image
from nuwrap.cluster.client import Cluster
from nuwrap.engines.kaniko_argv import DEFAULT_IMAGE
from nuwrap.errors import UsageError
from nuwrap.plan.kubernetes.build_job import BuildPlace
from nuwrap.plan.kubernetes.labels import label_value
from nuwrap.plan.kubernetes.profiles import check_profile
from nuwrap.plan.kubernetes.request import Pod
from nuwrap.platforms.kubernetes_cluster import builds_settings, connect_for, find_secrets, load_profile, no_secret
from nuwrap.spec.build import BuildSettings
from nuwrap.spec.function import PYTHON_VERSIONS, Function
from nuwrap.spec.images import python_image
from nuwrap.spec.run_values import RunValues
from nuwrap_runtime import __version__

ENGINES: Final = ("auto", "kaniko")
FILES: Final = ("tar_path", "oci_path")
_UNUSED: Final = ("volumes", "run_as_user", "run_as_group", "fs_group")


@dataclass(frozen=True)
class Wanted:
    """A build as it was asked for: `settings` are the user's, by name, `proxies` variables of the executor's own.

    `local_secrets` are the names of secrets that this machine has.
    """

    function: Function
    values: RunValues
    settings: Mapping[str, Any]
    run: str
    attempt: int
    environ: Mapping[str, str]
    proxies: Mapping[str, str]
    say: Callable[[str], None]
    local_secrets: frozenset[str] = frozenset()


def settle_in_cluster(build: BuildSettings, wanted: Wanted) -> BuildSettings:
    """Return the settings by which kaniko builds as a Job of the user's cluster.

    Raises UsageError for what a build there cannot have, NotFound for a secret that neither the namespace has nor this
    machine sends, PlatformError for a cluster that cannot be asked, a profile that there is not, and where no registry
    has nuwrap's own images.
    """
    values, settings = wanted.values, wanted.settings
    _check(values)
    _check_access(build, settings)
    fields = values.model_dump(mode="json", exclude_none=True)
    unused = [name for name in _UNUSED if fields.get(name)]
    if unused:
        wanted.say(f"recorded, but not used: {', '.join(unused)}; a build has its own places and is root")
    cluster = connect_for(builds_settings(settings), wanted.function.project, wanted.environ)
    secrets = _secrets(wanted, cluster)
    profile = fields.get("profile")
    patch = load_profile(cluster, str(settings["kubernetes.profiles"]), profile) if profile else {}
    check_profile(str(profile), patch)
    place = BuildPlace(
        context=cluster.where.context,
        namespace=cluster.namespace,
        project=wanted.function.project,
        function=wanted.function.name,
        run=wanted.run,
        attempt=wanted.attempt,
        user=label_value(cluster.where.user),
        pod=_pod(build, wanted, fields, patch),
        push_secret=str(settings["kubernetes.push_secret"]),
        sends=bool(settings["kubernetes.send_secrets"]),
        secrets=secrets,
        cache=facts_cache(wanted.environ),
        pending_timeout_s=float(settings["kubernetes.pending_timeout_s"]),
        deadline_s=values.timeout_s or float(settings["kubernetes.deadline_s"]),
        environment=wanted.proxies,
        labels=fields.get("object_labels", {}),
        annotations=fields.get("object_annotations", {}),
    )
    return replace(build, engine="kaniko", cluster=place.to_document())


def _check(values: RunValues) -> None:
    if values.engine and values.engine not in ENGINES:
        raise UsageError(
            f"engine {values.engine!r} builds on this machine alone, a cluster builds with kaniko; leave the engine "
            "out, or build with platform local"
        )
    files = [name for name in FILES if getattr(values, name)]
    if files:
        raise UsageError(
            f"{files[0]}: a build in a cluster leaves no file on this machine; leave it out, or build with platform "
            "local"
        )


def _secrets(wanted: Wanted, cluster: Cluster) -> dict[str, str]:
    """Return which Secret of the namespace has each secret; the others come from this machine. Raises NotFound."""
    names, project = wanted.values.secrets, wanted.function.project
    there = find_secrets(cluster, project) if names else {}
    may_send = bool(wanted.settings["kubernetes.send_secrets"])
    sent = [name for name in names if name not in there and may_send and name in wanted.local_secrets]
    missing = next((name for name in names if name not in there and name not in sent), "")
    if missing:
        raise no_secret(missing, there, project, cluster, is_here=missing in wanted.local_secrets)
    if sent:
        wanted.say(f"sent from this machine: {', '.join(sent)}")
    found = {name: there[name] for name in names if name in there}
    if found:
        wanted.say(
            f"of namespace {cluster.namespace!r}: {', '.join(found)}; their values are not known here, so neither log "
            "nor image is searched for them"
        )
    return found


def _check_access(build: BuildSettings, settings: Mapping[str, Any]) -> None:
    """Raises UsageError for certificates that are log-ins, where those of this machine may not go to the cluster."""
    clients = sorted(build.access.client_certificates)
    if clients and not settings["kubernetes.send_secrets"]:
        raise UsageError(
            f"registries.client_certificates: the key for {', '.join(clients)} is not sent to the cluster; `nuwrap "
            "config set kubernetes.send_secrets true` sends it, or build with platform local"
        )


def _pod(build: BuildSettings, wanted: Wanted, fields: Mapping[str, Any], patch: Mapping[str, Any]) -> Pod:
    own, settings = build.images_registry, wanted.settings
    if not own:
        raise no_images()
    filling = python_image(own, __version__, PYTHON_VERSIONS[wanted.function.python_version])
    executor = build.kaniko_image or DEFAULT_IMAGE
    return Pod(
        image=pin_image(executor, build, wanted.environ, wanted.say),
        fetch_image=pin_image(filling, build, wanted.environ, wanted.say),
        resources=fields.get("resources") or {},
        node_selector=fields.get("node_selector", ()),
        tolerations=fields.get("tolerations", ()),
        affinity=fields.get("affinity") or {},
        priority_class=fields.get("priority_class") or "",
        pull_secrets=tuple(settings["kubernetes.pull_secrets"]),
        service_account=str(settings["kubernetes.service_account"]),
        profile=patch,
    )
