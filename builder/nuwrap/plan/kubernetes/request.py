"""What one run asks of a cluster, as plain values: manifests are made of nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from nuwrap.spec.build import GROUP, USER

# Exit codes by which the host says that the run has failed by itself: what the cluster ends has 137 or 143.
OWN_CODES: Final = (1, 2, 3, 4, 5, 6, 7, 8, 9, 124)


@dataclass(frozen=True)
class SecretItem:
    """A secret of the function: the file `name` has what `key` of the Secret `secret_name` has."""

    name: str
    secret_name: str
    key: str


@dataclass(frozen=True)
class Pod:
    """A pod. `image` has the function; `fetch_image`, one of ours, fetches first where `fetches` says so, alone with
    the variables of the Secret `source_credentials`, and brings `/opt/nuwrap` to an image that `is_foreign`.

    The variables of the Secret `store_credentials` are for inputs and outputs: the function's container has them too.
    `claims_read` are claims that it has to read from, `claim_written` the one that gets its outputs, "" for none.
    `resources`, `volumes`, `node_selector`, `tolerations` and `affinity` have the shapes of `spec.shapes`, as plain
    values by their own names. `profile` is an administrator's: `pod`, `labels`, `annotations`, `resources`.
    """

    image: str
    fetch_image: str = ""
    is_foreign: bool = False
    fetches: bool = False
    user: int = USER
    group: int = GROUP
    fs_group: int | None = None
    resources: Mapping[str, Any] = field(default_factory=dict)
    volumes: Sequence[Mapping[str, Any]] = ()
    storage_class: str = ""
    node_selector: Sequence[Mapping[str, str]] = ()
    tolerations: Sequence[Mapping[str, Any]] = ()
    affinity: Mapping[str, Any] = field(default_factory=dict)
    priority_class: str = ""
    envs: Mapping[str, str] = field(default_factory=dict)
    pull_secrets: Sequence[str] = ()
    service_account: str = ""
    cache_claim: str = ""
    secrets: Sequence[SecretItem] = ()
    claims_read: Sequence[str] = ()
    claim_written: str = ""
    source_credentials: str = ""
    store_credentials: str = ""
    profile: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Serving:
    """A service's numbers: `replicas` pods that listen at `port`, with our own pages at `admin_port`.

    `service_name` is a further, stable name beside the run's.
    """

    port: int = 8080
    admin_port: int = 8082
    replicas: int = 1
    service_type: str = "ClusterIP"
    service_name: str = ""
    start_s: int = 1800


@dataclass(frozen=True)
class RunObjects:
    """One run. `launch` is the document that the pod reads, `given` files beside it by their path below `/run/nuwrap`,
    `record` what a colleague's nuwrap takes the run over by. `user` is who has asked for it.

    `deadline_s` None is none. `labels` and `annotations` are the user's own.
    """

    project: str
    function: str
    run: str
    action: str
    namespace: str
    launch: Mapping[str, Any]
    pod: Pod
    attempt: int = 1
    user: str = ""
    given: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    record: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    deadline_s: int | None = 259200
    retry_evictions: int = 0
    grace_s: float = 30.0
    serving: Serving | None = None

    def to_document(self) -> dict[str, Any]:
        """Return it as JSON values, without the files, as `from_document` reads it."""
        found = asdict(self)
        del found["given"]
        return found

    @classmethod
    def from_document(cls, document: Mapping[str, Any], given: Mapping[str, bytes]) -> RunObjects:
        """Return what `to_document` was of, with these files."""
        pod, serving = dict(document["pod"]), document.get("serving")
        secrets = [SecretItem(**one) for one in pod.pop("secrets")]
        return cls(
            **{
                **document,
                "pod": Pod(**pod, secrets=secrets),
                "serving": Serving(**serving) if serving else None,
                "given": given,
            }
        )
