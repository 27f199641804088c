"""What each action asks of a namespace; the Roles of docs/kubernetes.md and examples/kubernetes are held to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nuwrap.cluster.kinds import find_kind


@dataclass(frozen=True)
class Right:
    """Verbs on a kind, or on a part of it alone."""

    kind: str
    verbs: tuple[str, ...]
    subresource: str = ""

    @property
    def resource(self) -> str:
        """The name that a Role has for it: `jobs`, `pods/log`."""
        return f"{find_kind(self.kind).plural}{f'/{self.subresource}' if self.subresource else ''}"


_WORKLOAD: Final = ("create", "get", "list", "patch", "delete")
_PODS: Final = (
    Right("Pod", ("create", "list", "watch")),  # create: for the dry run alone
    Right("Pod", ("get",), "log"),
    Right("Event", ("list",)),
)
_OBJECTS: Final = (*_PODS, Right("Secret", ("create",)), Right("PersistentVolumeClaim", ("create", "get", "list")))
RIGHTS: Final[Mapping[str, tuple[Right, ...]]] = {
    "job": (Right("Job", _WORKLOAD), *_OBJECTS),
    "serve": (
        Right("Deployment", _WORKLOAD),
        Right("Service", ("create", "get", "patch")),
        *_OBJECTS,
        Right("Pod", ("get", "create"), "portforward"),
    ),
    "build": (
        Right("Job", ("create", "get", "delete")),
        Right("Pod", ("create", "list", "watch", "delete")),
        *_PODS[1:],
        Right("Pod", ("get", "create"), "exec"),
    ),
    "nuclio": (
        Right("NuclioFunction", _WORKLOAD),
        Right("NuclioProject", ("create", "get")),
        Right("Deployment", ("get", "patch", "delete")),
        Right("Service", ("delete",)),
        Right("ConfigMap", ("delete",)),
    ),
    "values": (Right("Secret", ("list",)),),
    "colleagues": (
        Right("Job", ("list",)),
        Right("Deployment", ("list",)),
        Right("Service", ("get",)),
        Right("Secret", ("get",)),
    ),
    "profiles": (Right("ConfigMap", ("get",)),),
    "doctor": (
        Right("Namespace", ("get",)),  # a Role of the namespace gives it: the server takes it for one of the namespace
        Right("ResourceQuota", ("list",)),
        Right("LimitRange", ("list",)),
    ),
}
MEANINGS: Final[Mapping[str, str]] = {
    "job": "jobs",
    "serve": "services",
    "build": "builds in the cluster",
    "nuclio": "services of platform nuclio, beside those of serve",
    "values": "secrets and credentials of the namespace, code and inputs by address",
    "colleagues": "`nuwrap ps`, and taking over what others have begun",
    "profiles": "profiles in a ConfigMap",
    "doctor": "`nuwrap doctor`, for what it looks at below",
}
