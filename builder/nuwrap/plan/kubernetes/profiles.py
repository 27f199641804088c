"""An administrator's profile over a pod: `pod` is merged into its spec, `resources` into its function's container.

Mappings are merged key by key, lists of named things by name, tolerations are added, all else is replaced. Nothing of
the profile is changed by that, however many runs have it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final

from nuwrap.errors import PlatformError

PARTS: Final = ("annotations", "labels", "pod", "resources")
ADDED: Final = ("tolerations",)


def check_profile(name: str, profile: Mapping[str, Any]) -> None:
    """Raises PlatformError for parts that mean nothing."""
    strange = sorted(set(profile) - set(PARTS))
    wrong = [part for part in PARTS if not isinstance(profile.get(part, {}), Mapping)]
    if strange or wrong:
        raise PlatformError(
            f"profile {name!r}: {', '.join(strange or wrong)} {'is' if len(strange or wrong) == 1 else 'are'} not "
            f"allowed so; allowed: {', '.join(PARTS)}, each a mapping"
        )


def apply_profile(template: Mapping[str, Any], profile: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pod's template with the profile."""
    made: dict[str, Any] = copy.deepcopy(dict(template))
    made["spec"] = _merge(made["spec"], profile.get("pod") or {})
    if profile.get("resources"):
        main = next(one for one in made["spec"]["containers"] if one["name"] == "main")
        main["resources"] = _merge(main["resources"], profile["resources"])
    return made


def _merge(under: Any, over: Any, key: str = "") -> Any:
    if isinstance(under, Mapping) and isinstance(over, Mapping):
        return {
            **under,
            **{name: _merge(under.get(name), copy.deepcopy(one), name) for name, one in over.items()},
        }
    if isinstance(under, list) and isinstance(over, list):
        if key in ADDED:
            return [*under, *over]
        if all(isinstance(one, Mapping) and "name" in one for one in (*under, *over)):
            return _merge_named(under, over)
    return over


def _merge_named(under: list[Any], over: list[Any]) -> list[Any]:
    changes = {one["name"]: one for one in over}
    kept = [_merge(one, changes.pop(one["name"], {})) for one in under]
    return [*kept, *changes.values()]
