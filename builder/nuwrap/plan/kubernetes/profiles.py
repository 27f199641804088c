"""An administrator's profile over a pod: `pod` is merged into its spec, `resources` into its function's container.

Mappings are merged key by key, lists of named things by name, tolerations are added, all else is replaced. Nothing of
the profile is changed by that, however many runs have it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final

from nuwrap.errors import PlatformError
from nuwrap.plan.kubernetes.labels import PREFIX

MAIN: Final = "main"
PARTS: Final = ("annotations", "labels", "pod", "resources")
ADDED: Final = ("tolerations",)
REPLACED: Final = ("affinity",)  # half of each would be a place that nobody has asked for
ONE_SOURCE: Final = ("env", "volumes")  # of which each has one source: two are refused by the server
_NAMES: Final[Mapping[str, str]] = {"volumeMounts": "mountPath"}  # a volume may be mounted twice


def check_profile(name: str, profile: Mapping[str, Any]) -> None:
    """Raises PlatformError for parts that mean nothing, and for labels and annotations that are ours."""
    strange = sorted(set(profile) - set(PARTS))
    wrong = [part for part in PARTS if not isinstance(profile.get(part, {}), Mapping)]
    if strange or wrong:
        raise PlatformError(
            f"profile {name!r}: {', '.join(strange or wrong)} {'is' if len(strange or wrong) == 1 else 'are'} not "
            f"allowed so; allowed: {', '.join(PARTS)}, each a mapping"
        )
    ours = [key for part in ("annotations", "labels") for key in profile.get(part, {}) if str(key).startswith(PREFIX)]
    if ours:
        raise PlatformError(f"profile {name!r}: {ours[0]!r} is nuwrap's own; allowed: keys without {PREFIX!r}")


def apply_profile(template: Mapping[str, Any], profile: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pod's template with the profile."""
    made: dict[str, Any] = copy.deepcopy(dict(template))
    made["spec"] = _merge(made["spec"], profile.get("pod") or {})
    if profile.get("resources"):
        main = next(one for one in made["spec"]["containers"] if one["name"] == MAIN)
        main["resources"] = _merge_resources(main["resources"], profile["resources"])
    return made


def _merge_resources(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return the amounts, the profile's where it has one. A request or limit of the user's that does not go with the
    profile's limit or request follows it.
    """
    made: dict[str, Any] = _merge(under, over)
    requests, limits = ({**(made.get(part) or {})} for part in ("requests", "limits"))
    for name in requests.keys() & limits.keys():
        if _go_together(name, requests[name], limits[name]):
            continue
        if name not in (over.get("limits") or {}):
            limits[name] = requests[name]
        elif name not in (over.get("requests") or {}):
            requests[name] = limits[name]
    return {**made, "requests": requests, "limits": limits}


def _go_together(name: str, request: Any, limit: Any) -> bool:
    """Tell whether the server takes both. What is no amount is left for it to name."""
    from nuwrap.spec.quantities import quantity  # imports pydantic, which a plan without a profile does not need

    try:
        asked, most = quantity(str(request)), quantity(str(limit))
    except ValueError:
        return True
    return asked == most if "/" in name else asked <= most  # devices are given whole


def _merge(under: Any, over: Any, key: str = "") -> Any:
    if key in REPLACED:
        return over
    if isinstance(under, Mapping) and isinstance(over, Mapping):
        return {
            **under,
            **{name: _merge(under.get(name), copy.deepcopy(one), name) for name, one in over.items()},
        }
    if isinstance(under, list) and isinstance(over, list):
        if key in ADDED:
            return [*under, *over]
        by = _NAMES.get(key, "name")
        if all(isinstance(one, Mapping) and by in one for one in (*under, *over)):
            return _merge_named(under, over, by, has_one_source=key in ONE_SOURCE)
    return over


def _merge_named(under: list[Any], over: list[Any], by: str, *, has_one_source: bool) -> list[Any]:
    changes = {one[by]: one for one in over}
    kept = []
    for one in under:
        change = changes.pop(one[by], None)
        is_other = change is not None and has_one_source and set(change) != set(one)
        kept.append(change if is_other else _merge(one, change or {}))
    return [*kept, *changes.values()]
