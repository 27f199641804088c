"""Write a run's outputs to an address: the work of a child process, in parallel. `outputs.py` asks for it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Optional

from nuwrap_runtime.errors import OutputsError
from nuwrap_runtime.host.addresses import scheme_of, shown
from nuwrap_runtime.host.results import OUTPUTS, RESULT
from nuwrap_runtime.host.stores import Access, Progress, StoreError, WritableStore, open_writable, together
from nuwrap_runtime.launch import Network
from nuwrap_runtime.result_lines import LOG_FOLDER, LOG_PART

MARKER: Final = ".run"
MARKER_BYTES, RESULT_BYTES = 4096, 16 * 1024 * 1024
FORBIDDEN: Final = 403
UNLIMITED: Final = 2**63


def child(request: Mapping[str, Any], environ: Mapping[str, str]) -> Mapping[str, Any]:
    """Do what the request says: `begin` a run's address, or `store` files of its folder; see `children`."""
    address: str = request["address"]
    progress = Progress("stored", UNLIMITED, "")
    network = Network(ca=request["ca"], proxies=request["proxies"])
    deadline = time.monotonic() + request["seconds"]
    access = Access(progress, environ, network, deadline=deadline, deadline_key=request["seconds_key"])
    try:
        store = open_writable(scheme_of(address), access)
        if request["do"] == "begin":
            _begin(store, address, request["run"])
        else:
            _store(store, address, request["folder"], request["paths"], progress)
    except (StoreError, OSError) as exc:
        reason = getattr(exc, "strerror", None) or exc
        raise OutputsError(f"output_path {shown(address)!r} cannot be written: {reason}") from exc
    return {"bytes": progress.bytes}


def _begin(store: WritableStore, address: str, run: str) -> None:
    mark = _read(store, address + MARKER, MARKER_BYTES)
    owner = (mark or b"").decode("utf-8", "replace").strip()
    if mark is not None and owner != run:
        raise OutputsError(f"output_path {shown(address)!r} is of run {owner!r}; name an address of its own")
    if mark is None and _read(store, address + RESULT, RESULT_BYTES) is not None:
        raise OutputsError(
            f"output_path {shown(address)!r} has a {RESULT} that no run of ours made; name an address of its own"
        )
    if mark is not None:
        store.remove([address + RESULT])  # first, and alone: with it, what is left of the rest would look whole
        store.remove(_left(store, address))
    store.write(address + MARKER, run.encode("utf-8"), "text/plain")


def _read(store: WritableStore, address: str, limit: int) -> Optional[bytes]:
    """Return what is at the address, None when nothing is.

    Who may write but not list gets 403 for what is not there (Amazon's GetObject), so that is taken for nothing.
    """
    try:
        return store.read(address, limit)
    except StoreError as exc:
        if getattr(exc, "status", 0) == FORBIDDEN:
            return None
        raise


def _left(store: WritableStore, address: str) -> list[str]:
    try:
        return [entry.address for entry in store.find(address) if _is_ours(entry.name)]
    except StoreError:  # there is none, or none that we may list; the result names those that count
        return []


def _is_ours(name: str) -> bool:
    folder, _, rest = name.partition("/")
    return folder == OUTPUTS or (folder == LOG_FOLDER and LOG_PART.fullmatch(rest) is not None)


def _store(store: WritableStore, address: str, folder: str, paths: Sequence[str], progress: Progress) -> None:
    together(lambda path: store.upload(os.path.join(folder, path), address + path), paths, progress)
