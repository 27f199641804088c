"""Inputs before the start: what lies at an address comes into the work folder, by a child process that ends.

Every entity whose key stands in inputs, parameters or init_parameters is fetched, each address once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from nuwrap_runtime.errors import InputsError
from nuwrap_runtime.host import credentials
from nuwrap_runtime.host.addresses import parse_address, scheme_of, shown
from nuwrap_runtime.host.children import Job, call_child
from nuwrap_runtime.host.report import Report
from nuwrap_runtime.host.stores import STORES
from nuwrap_runtime.host.workspace import Workspace, read_regular, remove_tree, write_whole
from nuwrap_runtime.launch import Launch

FOLDER: Final = "inputs"
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
    for key, address in wanted(launch).items():
        name = next((repr(name) for name, one in launch.inputs.items() if one == key), key)
        _check_address(name, address)


def fetch_inputs(
    launch: Launch, workspace: Workspace, environ: Mapping[str, str], report: Report
) -> dict[str, Fetched]:
    """Return where each wanted key's file lies now; fetched by a record's word are those that it names.

    What fails half-way leaves nothing. Raises InputsError.
    """
    addresses = wanted(launch)
    if not addresses:
        return {}
    done = _read_record(workspace, addresses)
    if done:
        return done
    with report.timed("inputs") as detail:
        unique = list(dict.fromkeys(addresses.values()))
        found = dict(zip(unique, _fetch(unique, launch, workspace, environ, report)))
        size = sum(one.bytes for one in found.values())
        detail.append(f"{len(unique)} fetched, {size / 1_000_000:.1f} MB")
    fetched = {key: found[address] for key, address in addresses.items()}
    record = {"addresses": addresses, "fetched": {key: asdict(one) for key, one in fetched.items()}}
    write_whole(os.path.join(workspace.folder, RECORD), json.dumps(record))
    return fetched


def _fetch(
    addresses: Sequence[str], launch: Launch, workspace: Workspace, environ: Mapping[str, str], report: Report
) -> list[Fetched]:
    making, folder = os.path.join(workspace.folder, MAKING), os.path.join(workspace.folder, FOLDER)
    for left in (making, folder):
        remove_tree(left)
    os.mkdir(making)
    limits = launch.limits
    job = Job(
        "fetch-inputs",
        {"addresses": addresses, "into": making, "limits": asdict(limits), "network": asdict(launch.network)},
        limits.input_seconds,
        "limits.input_seconds",
        lambda reason: InputsError(f"fetching the inputs {reason}"),
    )
    try:
        answer = call_child(job, credentials.data_environment(environ), report)
        os.rename(making, folder)
    except BaseException:  # a stop too: nothing half-fetched stays
        remove_tree(making)
        raise
    return [Fetched(**{**one, "path": os.path.join(folder, one["path"])}) for one in answer["fetched"]]


def _is_address(path: str) -> bool:
    return "://" in path and not path.startswith("file://")


def _check_address(name: str, address: str) -> None:
    scheme = scheme_of(address)
    if scheme not in STORES:
        known = ", ".join(f"{one}://" for one in STORES)
        raise InputsError(f"input {name}: {shown(address)!r}: scheme {scheme!r} is not known; allowed: a path, {known}")
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


def _read_record(workspace: Workspace, addresses: Mapping[str, str]) -> dict[str, Fetched]:
    """Return what an earlier `fetch` has put here, {} when that was something else, or is gone."""
    try:
        record = json.loads(read_regular(os.path.join(workspace.folder, RECORD)))
        found = {key: Fetched(**one) for key, one in record["fetched"].items()}
        if record["addresses"] == addresses and all(os.path.exists(one.path) for one in found.values()):
            return found
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # none, or half of one: fetch anew
        pass
    return {}
