"""From a launch document to what Nuclio reads: the processor's two files, and the function as nuctl deploys it.

Keys are those of nuclio/nuclio: pkg/functionconfig/types.go, pkg/platformconfig/types.go. Imports no model: a run's
supervisor, which has no third-party module, gets here.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nuwrap_runtime.launch import Launch

API, KIND = "nuclio.io/v1beta1", "NuclioFunction"
LAUNCH_NAME = "launch.json"
INLINE_BYTES = 96 * 1024  # one environment string ends at 128 KiB (linux/binfmts.h: MAX_ARG_STRLEN)
IMAGE_TREE = "/opt/nuwrap"
SCRIPT = f"{IMAGE_TREE}/worker/nuwrap_runtime/worker/nuclio_wrapper.py"
LAUNCH_FOLDER, SECRETS_FOLDER = "/etc/nuwrap/launch", "/etc/nuwrap/secrets"
FOLDERS: Mapping[str, str] = {"NUWRAP_WORK": "/work", "NUWRAP_CACHE": "/cache"}  # all containers of a pod have both
READY_S = 900  # until the first pod is ready; code is fetched and requirements are installed before
LOG_LEVEL = "NUWRAP_LOG_LEVEL"
LEVELS: Mapping[str, str] = {"debug": "debug", "info": "info", "warn": "warn", "warning": "warn", "error": "error"}
EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - only read
NAME_CHARACTERS = 63  # of a Kubernetes name that is a DNS label


@dataclass(frozen=True)
class Deployment:
    """A function as Nuclio's own tools take it. `secrets` are the Kubernetes Secrets that it names, each with its keys.

    `embedded` is true when the launch document stands in it, and not in one of these Secrets.
    """

    document: Mapping[str, Any]
    embedded: bool
    secrets: Mapping[str, Sequence[str]] = field(default_factory=dict)


def plan_processor(launch: Launch, python_version: str) -> dict[str, Any]:
    """Return `processor.yaml`: one HTTP trigger at the launch's address. `python_version` is a minor one, `3.11`.

    The processor only carries the handler along: the launch document's, with all that it says, is the worker's.
    """
    return {
        "metadata": {"name": resource_name(launch.function), "namespace": "default"},
        "spec": {
            "runtime": f"python:{python_version}",
            "handler": handler_of(launch),
            "triggers": {
                "http": {
                    **http_trigger(launch),
                    "url": _join(launch.serve.address, launch.serve.port),
                    "workerTerminationTimeout": duration(launch.grace_s),
                }
            },
            **event_timeout(launch),
        },
    }


def plan_platform(launch: Launch, *, level: str = "info", encoding: str = "console") -> dict[str, Any]:
    """Return `platform.yaml`: health at the launch's second port, no administration, the log on standard output."""
    sink = [{"level": level, "sink": "out"}]
    return {
        "kind": "local",
        "webAdmin": {"enabled": False},
        "healthCheck": {"enabled": True, "listenAddress": _join(launch.serve.address, launch.serve.admin_port)},
        "logger": {
            "sinks": {"out": {"kind": "stdout", "attributes": {"encoding": encoding}}},
            "system": sink,
            "functions": sink,
        },
    }


def plan_function(
    launch: Launch,
    python_version: str,
    *,
    description: str = "",
    environ: Mapping[str, str] | None = None,
    image: str = "",
) -> Deployment:
    """Return `function.yaml` for nuctl and the dashboard; without an `image` how it is built is the user's to add.

    `image` is one with our runtime and Nuclio's processor: it is run as it is. `environ` are further variables of the
    function. A launch document of more than 96 KiB is a file in the container, from a Secret. Secrets are there by
    name.
    """
    name = resource_name(launch.function)
    # Kubernetes puts a variable in for $(NAME), and takes $$ for $; as JSON has another way to write it, it finds none
    text = json.dumps(launch.to_document(), ensure_ascii=False).replace("$", "\\u0024")
    embedded = len(text.encode("utf-8", "surrogatepass")) <= INLINE_BYTES
    mounts: dict[str, tuple[str, Sequence[str]]] = {}
    variables = {"NUCLIO_PYTHON_WRAPPER_PATH": SCRIPT, "NUWRAP_LAUNCH": text}
    if not embedded:
        variables["NUWRAP_LAUNCH"] = f"@{LAUNCH_FOLDER}/{LAUNCH_NAME}"
        mounts[f"{name}-launch"] = LAUNCH_FOLDER, (LAUNCH_NAME,)
    if launch.secrets:
        variables["NUWRAP_SECRETS"] = SECRETS_FOLDER
        mounts[f"{name}-secrets"] = SECRETS_FOLDER, launch.secrets
    volumes = [_volume(secret, path) for secret, (path, _) in mounts.items()]
    if image:
        volumes += [_folder(variable, path) for variable, path in FOLDERS.items()]
        variables |= FOLDERS
    env = [{"name": key, "value": value} for key, value in {**(environ or {}), **variables}.items()]
    spec = {
        **({"description": description} if description else {}),
        "runtime": f"python:{python_version}",
        "handler": handler_of(launch),
        **(_run_as_it_is(image, env) if image else {}),
        "env": env,
        "triggers": {"http": http_trigger(launch)},
        **event_timeout(launch),
        **({"volumes": volumes} if volumes else {}),
    }
    document = {"apiVersion": API, "kind": KIND, "metadata": {"name": name}, "spec": spec}
    return Deployment(document, embedded, {secret: keys for secret, (_, keys) in mounts.items()})


def embed_code(launch: Launch, code: bytes) -> Launch:
    """Return the launch with a local file's content in the place of its path: it is `main.py` then.

    A handler or init function that names the file's module names none then, as `main` is the one there is.
    """
    module = re.sub(r"^(?:\./)+|\.py$", "", launch.code_src).replace("/", ".")
    names = {key: getattr(launch, key).removeprefix(f"{module}:") for key in ("handler", "init_function")}
    return replace(launch, code_src="", base64=base64.b64encode(code).decode("ascii"), **names)


def resource_name(text: str) -> str:
    """Return the nearest name that Kubernetes takes: small letters, digits and `-`, 63 at most."""
    kept = re.sub(r"[^a-z0-9]+", "-", text.lower())[:NAME_CHARACTERS].strip("-")
    return kept if kept[:1].isalpha() else f"fn-{kept}"[:NAME_CHARACTERS].rstrip("-")


def handler_of(launch: Launch) -> str:
    """Return the handler as Nuclio names it, with its module."""
    return launch.handler if ":" in launch.handler else f"main:{launch.handler}"


def http_trigger(launch: Launch) -> dict[str, Any]:
    """Return the trigger that each function has, with as many workers as the launch says."""
    return {
        "kind": "http",
        "name": "http",
        "numWorkers": launch.serve.workers,
        "attributes": {"maxRequestBodySize": launch.serve.max_body_bytes},
    }


def event_timeout(launch: Launch) -> dict[str, str]:
    """Return the time of one call as a function's spec has it, nothing where there is none."""
    return {} if launch.timeout_s is None else {"eventTimeout": duration(launch.timeout_s)}


def log_level(environ: Mapping[str, str]) -> str:
    """Return the level of the processor's log, in Nuclio's words."""
    return LEVELS.get(environ.get(LOG_LEVEL, "").lower(), "info")


def duration(seconds: float) -> str:
    """Return the seconds as Go reads a duration."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"


def _join(address: str, port: int) -> str:
    """Return where a Go program listens; without an address on all of them."""
    host = "" if address in EVERYWHERE else address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _run_as_it_is(image: str, env: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Return what has the code fetched and installed first: a processor that does not answer for 20 s is killed."""
    prepare = {"name": "fetch", "image": image, "command": [f"{IMAGE_TREE}/bin/nuwrap-host"], "args": ["prepare"]}
    return {"image": image, "readinessTimeoutSeconds": READY_S, "initContainers": [{**prepare, "env": env}]}


def _folder(variable: str, path: str) -> dict[str, Any]:
    name = variable.lower().replace("_", "-")
    return {"volume": {"name": name, "emptyDir": {}}, "volumeMount": {"name": name, "mountPath": path}}


def _volume(secret: str, path: str) -> dict[str, Any]:
    mount = {"name": secret, "mountPath": path, "readOnly": True}
    return {"volume": {"name": secret, "secret": {"secretName": secret}}, "volumeMount": mount}
