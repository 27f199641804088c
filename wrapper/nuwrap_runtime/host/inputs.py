"""Inputs before the start: what lies at an address comes into the work folder, by a child process that ends.

Every entity whose key stands in inputs, parameters or init_parameters is fetched, each address once.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from nuwrap_runtime.errors import InputsError, PlatformError
from nuwrap_runtime.host import credentials
from nuwrap_runtime.host.addresses import parse_address, scheme_of, shown
from nuwrap_runtime.host.children import Job, call_child
from nuwrap_runtime.host.network import with_network
from nuwrap_runtime.host.report import Report
from nuwrap_runtime.host.stores import STORES
from nuwrap_runtime.host.workspace import Workspace, read_regular, remove_tree, write_whole
from nuwrap_runtime.launch import Launch
from nuwrap_runtime.schema import did_you_mean

FOLDER: Final = "inputs"
MARKER: Final = ".nuwrap-inputs"  # says that the folder is ours, to be removed and made anew
RECORD: Final = "inputs.json"
MAKING: Final = ".making-inputs"


@dataclass(frozen=True)
class Fetched:
    """An input on this machine: the file's or folder's path, its bytes, and which one it is as the server tells it."""

    path: str
    bytes: int = 0
    revision: str = ""


def wanted(launch: Launch) -> dict[str, str]:
    """Return key → address of all entities in use that lie elsewhere."""
    keys = dict.fromkeys(launch.inputs.values())
    for text in _texts((launch.parameters, launch.init_parameters)):
        keys.update(dict.fromkeys(key for key in launch.entities if key == text or key.startswith(f"{text}:")))
    paths = {key: str(launch.entities[key]["path"]) for key in keys}
    return {key: path for key, path in paths.items() if _is_address(path)}


def check_inputs(launch: Launch) -> None:
    """See that every input that is a file here exists, and that all others can be asked for.

    Raises InputsError naming the argument and its path.
    """
    for name, key in launch.inputs.items():
        path = str(launch.entities[key]["path"])
        if not _is_address(path) and not os.path.exists(path.removeprefix("file://")):
            raise InputsError(f"input {name!r}: {path!r} does not exist")
    addresses = wanted(launch)
    for address, label in _labels(launch, addresses).items():
        _check_address(label, address)


def fetch_inputs(
    launch: Launch, workspace: Workspace, environ: Mapping[str, str], report: Report
) -> dict[str, Fetched]:
    """Return where each wanted key's file lies now; fetched by a record's word are those that it names.

    What fails half-way leaves nothing. Raises InputsError; PlatformError for somebody's own folder in our place.
    """
    addresses = wanted(launch)
    if not addresses:
        return {}
    done = _read_record(workspace, addresses)
    if done:
        return done
    with report.timed("inputs") as detail:
        labels = _labels(launch, addresses)
        try:
            fetched = _fetch(addresses, labels, launch, workspace, environ, report)
        except OSError as exc:
            reason = exc.strerror or exc
            raise InputsError(f"the inputs cannot be kept in {workspace.folder!r}: {reason}") from exc
        size = sum(one.bytes for one in {one.path: one for one in fetched.values()}.values())
        detail.append(f"{len(labels)} fetched, {size / 1_000_000:.1f} MB")
    return fetched


def _labels(launch: Launch, addresses: Mapping[str, str]) -> dict[str, str]:
    """Return address → what messages call it: the first argument that is it, else its key."""
    names = {key: repr(name) for name, key in reversed(list(launch.inputs.items()))}
    labels: dict[str, str] = {}
    for key, address in addresses.items():
        labels.setdefault(address, names.get(key, key))
    return labels


def _fetch(
    addresses: Mapping[str, str],
    labels: Mapping[str, str],
    launch: Launch,
    workspace: Workspace,
    environ: Mapping[str, str],
    report: Report,
) -> dict[str, Fetched]:
    """Fetch each address once, into a folder that takes the place of the last start's when all have come."""
    making, folder = os.path.join(workspace.folder, MAKING), os.path.join(workspace.folder, FOLDER)
    _empty_inputs(workspace)
    os.mkdir(making)
    try:
        found = dict(zip(labels, _call_child(making, labels, launch, environ, report)))
        os.rename(making, folder)
        located = {address: replace(one, path=os.path.join(folder, one.path)) for address, one in found.items()}
        fetched = {key: located[address] for key, address in addresses.items()}
        record = {"addresses": _digest(addresses), "fetched": {key: asdict(one) for key, one in fetched.items()}}
        write_whole(os.path.join(workspace.folder, RECORD), json.dumps(record))
    except BaseException:  # a stop too: nothing half-fetched stays
        for left in (making, folder):
            remove_tree(left)
        raise
    return fetched


def _empty_inputs(workspace: Workspace) -> None:
    """Remove what an earlier start left. Raises PlatformError for somebody's files: $NUWRAP_WORK may be a project."""
    folder, marker = os.path.join(workspace.folder, FOLDER), os.path.join(workspace.folder, MARKER)
    if not os.path.exists(marker):
        if os.path.isdir(folder) and os.listdir(folder):
            raise PlatformError(f"{folder!r} has files that nuwrap did not make; set NUWRAP_WORK elsewhere")
        write_whole(marker, "")
    record = os.path.join(workspace.folder, RECORD)
    if os.path.lexists(record):  # first: it must not speak for what comes next
        os.unlink(record)
    for left in (os.path.join(workspace.folder, MAKING), folder):
        remove_tree(left)
        if os.path.lexists(left):  # a file: the function may have put it there
            os.unlink(left)


def _call_child(
    making: str, labels: Mapping[str, str], launch: Launch, environ: Mapping[str, str], report: Report
) -> list[Fetched]:
    job = Job(
        "fetch-inputs",
        {
            "inputs": dict(labels),
            "into": making,
            "limits": asdict(launch.limits),
            "network": asdict(launch.network),
        },
        launch.limits.input_seconds,
        "limits.input_seconds",
        lambda reason: InputsError(f"fetching the inputs {reason}"),
    )
    answer = call_child(job, with_network(credentials.data_environment(environ), launch.network), report)
    return [Fetched(**one) for one in answer["fetched"]]


def _is_address(path: str) -> bool:
    return "://" in path and not path.startswith("file://")


def _check_address(name: str, address: str) -> None:
    scheme = scheme_of(address)
    if scheme not in STORES:
        known = ", ".join(f"{one}://" for one in STORES)
        near = did_you_mean(scheme, list(STORES))
        raise InputsError(
            f"input {name}: {shown(address)!r}: scheme {scheme!r} is not known; allowed: a path, {known}{near}"
        )
    try:
        parse_address(address, pins=("sha256",))
    except ValueError as exc:
        raise InputsError(f"input {name}: {shown(address)!r}: {exc}") from exc


def _texts(value: Any) -> Iterator[str]:
    """Yield the store keys in a JSON value, at any depth."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            if one.startswith("store://"):
                yield one
        elif isinstance(one, Mapping):
            waiting += one.values()
        elif isinstance(one, (list, tuple)):
            waiting += one


def _digest(addresses: Mapping[str, str]) -> str:
    """Return a digest of the addresses: a signed one is not to be read in a record."""
    return hashlib.sha256(json.dumps(addresses, sort_keys=True).encode()).hexdigest()


def _read_record(workspace: Workspace, addresses: Mapping[str, str]) -> dict[str, Fetched]:
    """Return what an earlier `fetch` has put here, {} when that was something else, or is gone."""
    try:
        record = json.loads(read_regular(os.path.join(workspace.folder, RECORD)))
        found = {key: Fetched(**one) for key, one in record["fetched"].items()}
        if record["addresses"] == _digest(addresses) and all(os.path.exists(one.path) for one in found.values()):
            return found
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # none, or half of one: fetch anew
        pass
    return {}
