"""Where the API has each kind of object that is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from nuwrap.errors import PlatformError


@dataclass(frozen=True)
class Kind:
    """A kind: its API version, its plural as paths and rights have it, and whether it is of a namespace."""

    version: str
    plural: str
    has_namespace: bool = True

    @property
    def group(self) -> str:
        """The API group, "" for the core one."""
        return self.version.rpartition("/")[0]

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        """Return the path of an object, of all without a name."""
        base = f"/apis/{self.version}" if self.group else f"/api/{self.version}"
        where = f"/namespaces/{quote(namespace, safe='')}" if self.has_namespace and namespace else ""
        parts = [quote(one, safe="") for one in (name, subresource) if one]
        return "/".join([f"{base}{where}/{self.plural}", *parts])


KINDS: Final = {
    "ConfigMap": Kind("v1", "configmaps"),
    "Deployment": Kind("apps/v1", "deployments"),
    "Event": Kind("v1", "events"),
    "Job": Kind("batch/v1", "jobs"),
    "LimitRange": Kind("v1", "limitranges"),
    "Namespace": Kind("v1", "namespaces", has_namespace=False),
    "Node": Kind("v1", "nodes", has_namespace=False),
    "NuclioFunction": Kind("nuclio.io/v1beta1", "nucliofunctions"),
    "NuclioProject": Kind("nuclio.io/v1beta1", "nuclioprojects"),
    "PersistentVolumeClaim": Kind("v1", "persistentvolumeclaims"),
    "Pod": Kind("v1", "pods"),
    "ResourceQuota": Kind("v1", "resourcequotas"),
    "Secret": Kind("v1", "secrets"),
    "SelfSubjectAccessReview": Kind("authorization.k8s.io/v1", "selfsubjectaccessreviews", has_namespace=False),
    "Service": Kind("v1", "services"),
    "StorageClass": Kind("storage.k8s.io/v1", "storageclasses", has_namespace=False),
}


def find_kind(name: str) -> Kind:
    """Return the kind. Raises PlatformError for one that nuwrap does not ask for."""
    if name not in KINDS:
        raise PlatformError(f"kind {name!r} is none that nuwrap asks a cluster for; allowed: {', '.join(KINDS)}")
    return KINDS[name]
