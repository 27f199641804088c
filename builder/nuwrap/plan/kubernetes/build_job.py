"""A build of kaniko's as a Job: a container of ours waits for what is to be built, then the executor runs.

Facts of the executor: osscontainertools/kaniko v1.28.3. It is root and unpacks images over its own files, so its pod
is not *restricted* as Pod Security has it; it fits *baseline*.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from nuwrap.plan.kubernetes.labels import ACTION_LABEL, exact_names, run_labels, with_ours, workload_name
from nuwrap.plan.kubernetes.pods import CONTAINER_SECURITY, plan_placement, plan_resources
from nuwrap.plan.kubernetes.profiles import MAIN, apply_profile
from nuwrap.plan.kubernetes.request import Pod
from nuwrap.plan.rendering import render
from nuwrap.spec.document import parse_documents

FILL: Final = "fill"
ASKING: Final = "ask"  # the action of a pod that only asks the executor
FILLED: Final = "filled"
FILLING: Final = "filling"  # has the number of the shell that unpacks; it is gone with its builder's connection
QUESTION_S: Final = 600
KEPT_S: Final = 600  # of a Job whose builder was killed; who builds removes it at once
SPARE_S: Final = 60  # until the Job ends a build that this machine did not
SILENCE_S: Final = 120  # of a builder, from which nothing comes when it was killed; what it sends takes its time
# $1 is the folder; what is counted are tenths of a second in which nobody unpacks.
_WAIT: Final = f"""
left={SILENCE_S * 10}
until [ -e "$1/{FILLED}" ]; do
  if ! kill -0 "$(cat "$1/{FILLING}" 2>/dev/null)" 2>/dev/null; then left=$((left-1)); fi
  if [ "$left" -le 0 ]; then
    echo "no context came within {SILENCE_S} s: its builder is gone" >/dev/termination-log
    exit 1
  fi
  sleep 0.1
done
"""
_UNPACK: Final = f'echo $$ >"$1/{FILLING}"; tar -xf - -C / && touch "$1/{FILLED}"'
_FILLING: Final[Mapping[str, str]] = {"cpu": "10m", "memory": "32Mi"}


@dataclass(frozen=True)
class BuildPlace:
    """Where in a cluster a build runs, and what its user asks of it. `pod.image` is the executor's, `pod.fetch_image`
    one of ours.

    `push_secret` names a Secret with the log-ins of registries (type kubernetes.io/dockerconfigjson), "" for none;
    `sends` tells that those of this machine, and secrets, may go there. `secrets` are those that the namespace has: the
    name of the Secret by that of the build's secret, which is its key there. `cache` is a folder here that keeps what
    executors have answered, `environment` what the executor gets beside the build's own. Times are in seconds, 0 for
    none.
    """

    context: str
    namespace: str
    project: str
    function: str
    run: str
    pod: Pod
    attempt: int = 1
    user: str = ""
    push_secret: str = ""
    sends: bool = False
    secrets: Mapping[str, str] = field(default_factory=dict)
    cache: str = ""
    pending_timeout_s: float = 900.0
    deadline_s: float = 259200.0
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The Job's name."""
        return workload_name(self.run, self.attempt)

    def to_document(self) -> dict[str, Any]:
        """Return it as JSON values, as `from_document` reads it."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> BuildPlace:
        """Return what `to_document` was of."""
        return cls(**{**document, "pod": Pod(**document["pod"])})


def unpacking(room: str) -> list[str]:
    """Return the command that unpacks an archive of its input in the container that waits, and ends its wait."""
    return ["sh", "-c", _UNPACK, "unpack", room]


def plan_build_job(place: BuildPlace, room: str, argv: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the Job. `room` is the folder that both containers have; it is filled while the first one waits."""
    mounts: list[dict[str, Any]] = [{"name": "nuwrap-room", "mountPath": room}]
    volumes: list[dict[str, Any]] = [{"name": "nuwrap-room", "emptyDir": {}}]
    main_mounts = list(mounts)
    if place.push_secret:
        items = [{"key": ".dockerconfigjson", "path": "config.json"}]
        volumes.append({"name": "nuwrap-log-ins", "secret": {"secretName": place.push_secret, "items": items}})
        main_mounts.append({"name": "nuwrap-log-ins", "mountPath": f"{room}/docker", "readOnly": True})
    if place.secrets:
        volumes.append(_secrets_volume(place.secrets))
        main_mounts += [_secret_mount(name, f"{room}/secrets/{name}") for name in place.secrets]
    filling = {
        "name": FILL,
        "image": place.pod.fetch_image,
        "command": ["sh", "-c", _literal(_WAIT.strip()), "wait"],
        "args": [room],
        "env": [],
        "resources": {"requests": _FILLING, "limits": {}},
        "mounts": mounts,
        "security": CONTAINER_SECURITY,
    }
    # `container` is how the executor tells that it is in one, where the account has no token
    main = _executor(place, MAIN, argv, {**place.environment, **environment, "container": "kube"}, main_mounts)
    return _make(
        "job",
        place.name,
        place,
        retries=0,
        deadline_s=math.ceil(place.deadline_s + SPARE_S) if place.deadline_s else None,
        ttl_s=KEPT_S,
        template=_template(place, [filling], [main], volumes),
    )


def plan_questions(place: BuildPlace, name: str, questions: Mapping[str, str]) -> dict[str, Any]:
    """Return a Pod whose containers ask the executor, each one question: its name, and the argument."""
    asking = [_executor(place, container, [argument], {}, []) for container, argument in questions.items()]
    template = _template(place, [], asking, [])
    template["metadata"]["labels"][ACTION_LABEL] = ASKING
    about = {**template["metadata"], "name": name, "namespace": place.namespace}
    spec = {**template["spec"], "activeDeadlineSeconds": QUESTION_S}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": spec}


def _secrets_volume(secrets: Mapping[str, str]) -> dict[str, Any]:
    sources = [{"secret": {"name": one, "items": [{"key": name, "path": name}]}} for name, one in secrets.items()]
    return {"name": "nuwrap-secrets", "projected": {"defaultMode": 0o400, "sources": sources}}


def _secret_mount(name: str, path: str) -> dict[str, Any]:
    """Return a mount of one file: those that come from the builder's machine lie beside it."""
    return {"name": "nuwrap-secrets", "mountPath": path, "subPath": name, "readOnly": True}


def _executor(
    place: BuildPlace,
    name: str,
    argv: Sequence[str],
    environment: Mapping[str, str],
    mounts: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    return {
        "name": name,
        "image": place.pod.image,
        "command": [],
        "args": [_literal(one) for one in argv],
        "env": [{"name": key, "value": _literal(value)} for key, value in environment.items()],
        "resources": plan_resources(place.pod.resources),
        "mounts": mounts,
        "security": {},
    }


def _literal(text: str) -> str:
    """Return the text as Kubernetes takes it for itself: it puts the variable in for $(NAME), and $ for $$."""
    return text.replace("$", "$$")


def _template(
    place: BuildPlace,
    first: Sequence[Mapping[str, Any]],
    containers: Sequence[Mapping[str, Any]],
    volumes: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    pod = place.pod
    text = render(
        "kubernetes/build_pod.yaml.j2",
        {
            "labels": _labels(place),
            "annotations": _annotations(place),
            **plan_placement(pod),
            "init_containers": first,
            "containers": containers,
            "volumes": volumes,
        },
    )
    template: dict[str, Any] = parse_documents(text, "pod")[0]
    return apply_profile(template, pod.profile)


def _make(file: str, name: str, place: BuildPlace, **values: Any) -> dict[str, Any]:
    about = {"name": name, "namespace": place.namespace, "labels": _labels(place), "annotations": _annotations(place)}
    text = render(f"kubernetes/{file}.yaml.j2", {**about, **values})
    made: dict[str, Any] = parse_documents(text, file, most=len(text) + 1024 * 1024)[0]
    return made


def _labels(place: BuildPlace) -> dict[str, str]:
    ours = run_labels(place.project, place.function, place.run, "build", place.attempt, place.user)
    return with_ours(ours, place.labels, place.pod.profile.get("labels", {}))


def _annotations(place: BuildPlace) -> dict[str, str]:
    ours = exact_names(place.project, place.function)
    return with_ours(ours, place.annotations, place.pod.profile.get("annotations", {}))
