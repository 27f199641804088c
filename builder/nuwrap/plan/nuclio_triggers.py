"""A function's triggers as Nuclio's controller reads them: the HTTP trigger that each function of ours has, and others
that are given as in a function.yaml.

The controller reads all functions of a namespace at once, and none when a value of one has another type than it
expects; the API server, which knows no form of them, takes any. So it is said here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nuwrap.errors import PlatformError
from nuwrap_runtime.schema import did_you_mean

# nuclio/nuclio pkg/functionconfig/types.go, Trigger.
_TYPES: Final[Mapping[str, type]] = {
    "annotations": dict,
    "attributes": dict,
    "batch": dict,
    "class": str,
    "disabled": bool,
    "explicitAckMode": str,
    "kind": str,
    "name": str,
    "numWorkers": int,
    "paths": list,
    "url": str,
    "username": str,
    "waitExplicitAckDuringRebalanceTimeout": str,
    "workerAllocatorName": str,
    "workerAvailabilityTimeoutMilliseconds": int,
    "workerTerminationTimeout": str,
}
_WORDS: Final[Mapping[type, str]] = {bool: "true or false", dict: "a mapping", int: "a whole number", str: "text"}
_SECRET: Final = ("password", "secret")
_MAPPINGS: Final = ("ingresses",)  # of the attributes, what the controller takes for one without a look
HTTP: Final = "http"


def plan_triggers(http: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all triggers by name: those given, and `http` unless one of its kind is given, which it completes.

    Raises PlatformError for one that the controller cannot read, and for a password, which everybody could.
    """
    for name, one in given.items():
        _check(name, one)
    found = {name: {"name": name, **one} for name, one in given.items()}
    own = [name for name, one in given.items() if one["kind"] == HTTP]
    if len(own) > 1:
        raise PlatformError(f"triggers {own[0]!r} and {own[1]!r} are both of kind http; a function of Nuclio has one")
    for name in own:
        attributes = {**http["attributes"], **found[name].get("attributes", {})}
        found[name] = {**http, **found[name], "attributes": attributes}
    return found if own else {HTTP: dict(http), **found}


def _check(name: str, trigger: Any) -> None:
    where = f"trigger {name!r}"
    if not isinstance(trigger, Mapping) or not isinstance(trigger.get("kind"), str):
        raise PlatformError(
            f"{where} is no mapping with a kind; write it as in Nuclio's function.yaml: {{kind: cron, …}}"
        )
    for key, value in trigger.items():
        if key in _SECRET:
            raise PlatformError(
                f"{where}: {key} would stand in a ConfigMap, where everybody reads it; leave it out, and give the "
                "trigger a file of a Secret where its kind can read one"
            )
        if key not in _TYPES:
            raise PlatformError(
                f"{where}: {key!r} is not known; allowed: {', '.join(_TYPES)}{did_you_mean(key, [*_TYPES])}"
            )
        _check_type(f"{where}: {key}", value, _TYPES[key])
    for key in ("paths", "annotations"):
        items = trigger.get(key, ())
        for one in items.values() if isinstance(items, Mapping) else items:
            _check_type(f"{where}: each of {key}", one, str)
    for key in _MAPPINGS:
        if key in trigger.get("attributes", {}):
            _check_type(f"{where}: attributes.{key}", trigger["attributes"][key], dict)


def _check_type(what: str, value: Any, kind: type) -> None:
    is_flag = isinstance(value, bool) and kind is not bool
    if is_flag or not isinstance(value, (list, tuple) if kind is list else kind):
        raise PlatformError(f"{what} is {value!r}; allowed: {_WORDS.get(kind, 'a list')}")
