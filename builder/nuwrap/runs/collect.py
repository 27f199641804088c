"""What a run has left, into the history: how it ended, its results, and its outputs as entities."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from nuwrap.errors import ResultError
from nuwrap.platforms import goes_on_there
from nuwrap.platforms.run_folder import LAUNCH
from nuwrap.store import BUILT_IMAGE, COMPLETED, ERROR, PRODUCES, STOPPED, EntityRecord, LineageRecord, RunRecord, Store
from nuwrap.store.results import FILE_NAME, read_result
from nuwrap_runtime import errors as runtime_errors
from nuwrap_runtime.entities import Key
from nuwrap_runtime.launch import STORE_KEY
from nuwrap_runtime.result import Failure, Result

EARLY_STOPS = (130, 143)  # of a host that a signal ended before it could take it
LOST_CODE = 10
MESSAGE_CHARACTERS = 8000


@dataclass
class _Left:
    """Outputs by name with the entities that they are, and the run's part in them."""

    outputs: dict[str, Any] = field(default_factory=dict)
    entities: list[EntityRecord] = field(default_factory=list)
    lineage: list[LineageRecord] = field(default_factory=list)


def finish(store: Store, record: RunRecord, exit_code: int | None, *, elsewhere: str = "") -> RunRecord:
    """End the run in the history; `exit_code` is the host's, None when nobody is left who knows it.

    `elsewhere` says what became of what a run without a result has left on other machines.
    """
    place = result_place(record)
    try:
        result = own_result(record, place.folder)
    except ResultError as exc:
        state, message, code = _without_result(record, exit_code, str(exc))
        message = "; ".join(text for text in (message, elsewhere) if text)
        return store.finish_run(record.id, state, message, exit_code=code, outputs={}, result={})
    left = _take_outputs(record, result, place)
    if record.action == "build" and result.state == COMPLETED:
        _take_image(store, record, str(result.results.get("image") or ""))
    return store.finish_run(
        record.id,
        result.state,
        describe(result.failure) if result.failure else "",
        exit_code=result.exit_code if exit_code in (None, 0) else exit_code,
        outputs=left.outputs,
        result=replace(result, outputs={}).to_document(),
        entities=left.entities,
        lineage=left.lineage,
    )


def _take_image(store: Store, record: RunRecord, image: str) -> None:
    """Give the version that was built its image, in place: the next run of it starts from there.

    `built_image` beside it says that no person has named that image: a function that is described again without one
    is still this version.
    """
    function = store.get_function(record.project, record.function, record.function_id)
    if image and function:
        store.update_function(replace(function, spec={**function.spec, "image": image, BUILT_IMAGE: image}))


@dataclass(frozen=True)
class Place:
    """Where a run's result lies on this machine, and the address that got the outputs, "" for none."""

    folder: str
    address: str = ""


def result_place(record: RunRecord) -> Place:
    """Return where the run's result lies, as its launch document says."""
    path = ""
    launch = os.path.join(record.folder, LAUNCH)
    with suppress(OSError, ValueError, AttributeError), open(launch, encoding="utf-8") as stream:  # it may be damaged
        path = json.load(stream).get("output_path", "")
    if "://" in path:
        return Place(record.folder, path.rstrip("/") + "/")
    return Place(path or record.folder)


def own_result(record: RunRecord, folder: str) -> Result:
    """Return the result that the run has left in the folder. Raises ResultError, also for another run's."""
    result = read_result(folder, has_files=not goes_on_there(record.platform, record.action))
    if result.run != record.id:
        raise ResultError(f"the result in {folder!r} is another run's, {result.run!r}")
    return result


def describe(failure: Failure) -> str:
    """Return phase and reason: `handler: ZeroDivisionError: …`; our own refusals speak for themselves."""
    kind = "" if hasattr(runtime_errors, failure.type) else f"{failure.type}: "
    return f"{failure.phase}: {kind}{failure.message}"[:MESSAGE_CHARACTERS]


def _without_result(record: RunRecord, exit_code: int | None, why: str) -> tuple[str, str, int]:
    """Return state, message and exit code of a run that has left no result that can be read."""
    if exit_code in EARLY_STOPS:
        return STOPPED, "stopped before it began", 143
    if exit_code is None:
        what = "its processes are gone: they were killed, or the machine was stopped"
        return ERROR, f"platform: {what}; what it printed is in {record.folder!r}", LOST_CODE
    if exit_code > 128:
        return ERROR, f"platform: nuwrap-host was killed by signal {exit_code - 128}; {why}", exit_code
    return ERROR, f"platform: {_last_error(record) or why}", exit_code or LOST_CODE


def _last_error(record: RunRecord) -> str:
    """Return the reason that the host printed where it could write no result: a document that it refused."""
    if os.path.lexists(os.path.join(record.folder, FILE_NAME)):
        return ""
    with suppress(OSError), open(os.path.join(record.folder, "log.txt"), errors="replace", encoding="utf-8") as log:
        lines = [line.strip() for line in log.read(1024**2).splitlines()]
        told = [line for line in lines if line.startswith(("nuwrap  error: ", "nuwrap-host: "))]
        return told[-1].partition(": ")[2] if told else ""
    return ""


def _take_outputs(record: RunRecord, result: Result, place: Place) -> _Left:
    left = _Left()
    for name, output in result.outputs.items():
        path = output["path"] and _locate(output["path"], result, place)
        key = _own_key(record, output.get("key")) or _make_key(record, output, name)
        left.outputs[name] = {"type": output["type"], "kind": output["kind"], "path": path, "key": key}
        if key not in {one.key for one in left.lineage}:  # one that was logged, then returned, was made once
            left.lineage.append(LineageRecord(record.id, PRODUCES, name, key))
        if path:
            left.entities.append(_entity(record, key, output, path))
    return left


def _locate(path: str, result: Result, place: Place) -> str:
    """Return where an output lies: at the run's address once all of it is there, else on this machine."""
    is_stored = place.address and not (result.failure and result.failure.phase == "outputs")
    return place.address + path if is_stored else os.path.join(place.folder, path)


def _own_key(record: RunRecord, key: Any) -> str:
    """Return the key that a run gave an output itself, "" for what is no key of its project: nothing else is let in."""
    is_ours = isinstance(key, str) and re.search(STORE_KEY, key) and not key.endswith("\n")
    return key if is_ours and key.startswith(f"store://{record.project}/") else ""


def _make_key(record: RunRecord, output: Mapping[str, Any], name: str) -> str:
    """Return a key of the output's name; a name is any text, in a key it has letters, digits, '.', '_' and '-'."""
    safe = re.sub(r"[^\w.-]+", "-", name).strip("-.")[:128] or "output"
    return str(Key(record.project, output["type"], output["kind"], safe, str(uuid.uuid4())))


def _entity(record: RunRecord, key: str, output: Mapping[str, Any], path: str) -> EntityRecord:
    name, _, id_ = key.rpartition("/")[2].partition(":")
    spec = output.get("spec") or {}
    return EntityRecord(key, record.project, output["type"], output["kind"], name, id_, path, spec=spec)
