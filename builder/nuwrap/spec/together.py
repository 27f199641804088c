"""What does not go together in a run's values, be each of them right or wrong by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nuwrap.spec.model import quote


def find_contradictions(action: Any, given: Mapping[str, Any]) -> list[str]:
    """Return a line for each two values that do not go together, with the path of the second."""
    found = [
        *_repeated(given, "node_selector", "key"),
        *_repeated(given, "envs", "name"),
        *_repeated(given, "volumes", "name"),
        *_repeated(given, "volumes", "mount_path"),
    ]
    inputs, parameters = given.get("inputs"), given.get("parameters")
    if isinstance(inputs, Mapping) and isinstance(parameters, Mapping):
        both = sorted(str(name) for name in inputs if name in parameters)
        found += [f"inputs.{name}: is in parameters too; one name has one value" for name in both]
    for index, env in enumerate(_items(given, "envs")):
        if _get(env, "name") in [one for one in _items(given, "secrets") if isinstance(one, str)]:
            found.append(f"envs[{index}].name: {quote(_get(env, 'name'))} is in secrets too; one name has one value")
        if _get(env, "persist") and action in ("job", "serve"):
            found.append(f"envs[{index}].persist: belongs to action build; this is {action}")
    if given.get("local_execution") is True and given.get("platform", "local") != "local":
        found.append(f"platform: {quote(given['platform'])} and local_execution are both given; keep one")
    if given.get("port") and given.get("port") == given.get("admin_port"):
        found.append(f"admin_port: {quote(given['port'])} is port too; name two ports, or 0 for any free one")
    return found


def _repeated(given: Mapping[str, Any], field: str, key: str) -> list[str]:
    seen: dict[Any, int] = {}
    found = []
    for index, item in enumerate(_items(given, field)):
        value = _get(item, key)
        if isinstance(value, str):
            first = seen.setdefault(value.rstrip("/") if key == "mount_path" else value, index)
            if first != index:
                found.append(f"{field}[{index}].{key}: {quote(value)} is that of {field}[{first}] too; give each once")
    return found


def _items(given: Mapping[str, Any], field: str) -> list[Any]:
    value = given.get(field)
    return list(value) if isinstance(value, (list, tuple)) else []


def _get(item: Any, key: str) -> Any:
    """Return a key of an item as it was given: a mapping in either spelling, or one of our shapes."""
    if not isinstance(item, Mapping):
        return getattr(item, key, None)
    head, *rest = key.split("_")
    return item.get(key, item.get(head + "".join(part.title() for part in rest)))
