"""What differs between two images' inputs, said in sentences: why a build is not the last one again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from nuwrap.spec.build import Step

_DIGITS: Final = 12
_ORDER: Final = ("base", "runtime", "places", "python", "bytecode", "instruction", "requirements", "code", "records")
_SENTENCES: Final[Mapping[str, str]] = {
    "base": "the base image is another: {old} became {new}",
    "runtime": "nuwrap's part of the image is another: {old} became {new}",
    "python": "python_version was {old}, is {new}",
    "layout": "nuwrap lays images out in another way, or the settings' user is another",
    "requirements": "the requirements are others, or in another order",
    "code": "the code has changed: files that are too many to name, or which of them can be executed",
    "revision": "the source's revision was {old}, is {new}",
    "function": "handler, init_function or another field of the function has changed",
}
_ENDS: Final[Mapping[str, str]] = {"changed": "has changed", "new": "is new", "gone": "is gone"}
_ENDS_OF_GROUP: Final[Mapping[str, Mapping[str, str]]] = {
    "env": {"changed": "has another value"},
    "instruction": {"changed": "is another command"},
    "secret": {"new": "is mounted now", "gone": "is mounted no more"},
}
# The first step that an input is for, where it has not the input's own name.
_STEP_OF_GROUP: Final = {
    "env": "instruction 1",
    "secret": "instruction 1",
    "requirement": "requirements",
    "file": "code",
}
_STEP_OF_INPUT: Final = {"layout": "places", "revision": "records", "function": "records"}


@dataclass(frozen=True)
class Change:
    """An input that differs. `name` is the plan's, `kind` is `changed`, `new` or `gone`, `text` says it in a sentence.

    `first` is the key of the first step that is carried out again because of it, `rebuilds` names them all.
    """

    name: str
    kind: str
    text: str
    first: str
    rebuilds: str


def explain_changes(old: Mapping[str, str], new: Mapping[str, str]) -> list[Change]:
    """Return what differs between the inputs of two plans, in the order of the layers.

    What only sums others up (the digest of all code, the order of requirements) is told where nothing else tells why.
    """
    names = [name for name in dict.fromkeys([*new, *old]) if old.get(name) != new.get(name)]
    steps = list_keys(new)
    found = [_explain(name, old, new, steps) for name in names if not _is_told(name, names, (old, new))]
    return sorted(_join_versions(found), key=lambda one: steps.index(one.first))


def split_steps(steps: Sequence[Step], changes: Sequence[Change]) -> tuple[list[Step], list[Step]]:
    """Return the steps that stay as they were built, and those that are carried out again: all from the first on."""
    if not changes:
        return list(steps), []
    first = min(_rank(one.first) for one in changes)
    number = next((number for number, step in enumerate(steps) if _rank(step.key) >= first), len(steps))
    return list(steps[:number]), list(steps[number:])


def list_keys(inputs: Mapping[str, str]) -> list[str]:
    """Return the keys of the steps that an image of these inputs may have, in their order."""
    instructions = sorted((name for name in inputs if re.fullmatch("instruction [0-9]{1,9}", name)), key=_rank)
    requirements = ["requirements"] if any(name.startswith("requirement:") for name in inputs) else []
    runtime, places, bytecode = (["runtime"], ["places"], ["bytecode"]) if "runtime" in inputs else ([], [], [])
    python = ["python"] if _installs_python(inputs) else []
    return ["base", *runtime, *places, *python, *bytecode, *instructions, *requirements, "code", "records"]


def _is_told(name: str, names: Sequence[str], sides: Sequence[Mapping[str, str]]) -> bool:
    """Tell whether others say it: single inputs of a group, or the group's sum where one side has no single ones."""
    for whole, group in (("code", "file:"), ("requirements", "requirement:")):
        lists = [any(each.startswith(group) for each in one) or whole not in one for one in sides]
        if name == whole:
            return all(lists) and any(one.startswith(group) for one in names)
        if name.startswith(group):
            return not all(lists)
    return False


def _explain(name: str, old: Mapping[str, str], new: Mapping[str, str], steps: Sequence[str]) -> Change:
    kind = "changed" if name in old and name in new else "new" if name in new else "gone"
    first = _first_step(name, steps)
    return Change(name, kind, _say(name, kind, old, new), first, ", ".join(steps[steps.index(first) :]))


def _first_step(name: str, steps: Sequence[str]) -> str:
    """Return the key of the first step that depends on the input; one that is gone counts for what came after it."""
    key, _, rest = name.partition(":")
    wanted = (_STEP_OF_GROUP if rest else _STEP_OF_INPUT).get(key, key)
    if key == "env" and "python" in steps:  # which uv installs, from a mirror that a variable may name
        wanted = "python"
    return wanted if wanted in steps else next(one for one in steps if _rank(one) >= _rank(wanted))


def _installs_python(inputs: Mapping[str, str]) -> bool:
    return inputs.get("python", "").endswith("installed")


def _rank(key: str) -> tuple[int, int]:
    """Return the place of a step among all; what another version of nuwrap may have comes first."""
    head, _, number = key.partition(" ")
    if head not in _ORDER or not re.fullmatch("[0-9]{0,9}", number):
        return 0, 0
    return _ORDER.index(head), int(number or 0)


def _say(name: str, kind: str, old: Mapping[str, str], new: Mapping[str, str]) -> str:
    if name in _SENTENCES:
        return _SENTENCES[name].format(old=_show(old.get(name, "")), new=_show(new.get(name, "")))
    group, _, rest = name.partition(":")
    said = {**_ENDS, **_ENDS_OF_GROUP.get(group.split(" ")[0], {})}[kind]
    return f"{group} {rest} {said}" if rest else f"{name} {said}"


def _show(text: str) -> str:
    return text.removeprefix("sha256:")[:_DIGITS] if text.startswith("sha256:") else text or "none"


def _join_versions(changes: Sequence[Change]) -> Iterator[Change]:
    """Yield the changes, a requirement that came for one of the same package as a single one."""
    gone = {_package(one.name): one for one in changes if one.kind == "gone" and _package(one.name)}
    new = {_package(one.name) for one in changes if one.kind == "new"}
    for one in changes:
        package = _package(one.name)
        before = gone.get(package)
        if one.kind == "new" and before:
            was, now = (each.name.partition(":")[2] for each in (before, one))
            yield Change(one.name, "changed", f"requirement {was} became {now}", one.first, one.rebuilds)
        elif not (one is before and package in new):
            yield one


def _package(name: str) -> str:
    """Return the package that an input requires as an index compares names, "" for another input."""
    found = re.match(r"requirement:\s*([A-Za-z0-9][A-Za-z0-9._-]*)", name)
    return re.sub(r"[-_.]+", "-", found[1]).lower() if found else ""
