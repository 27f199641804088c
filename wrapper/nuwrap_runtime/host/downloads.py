"""Download inputs: the work of a child process, in parallel. `inputs.py` asks for it."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from nuwrap_runtime.errors import InputsError
from nuwrap_runtime.host.addresses import Address, file_name, parse_address, scheme_of, shown
from nuwrap_runtime.host.folders import file_digest
from nuwrap_runtime.host.inputs import Fetched
from nuwrap_runtime.host.names import Names
from nuwrap_runtime.host.stores import Access, Entry, Progress, Store, StoreError, open_store, together
from nuwrap_runtime.launch import Limits, Network

NAMELESS: Final = "input"


def child(request: Mapping[str, Any], environ: Mapping[str, str]) -> Mapping[str, Any]:
    """Fetch all addresses of the request into numbered folders below `into`; see `children`.

    `inputs` is address → what messages call it.
    """
    limits, network = Limits(**request["limits"]), Network(**request["network"])
    access = Access(
        Progress("fetched", limits.input_bytes, "limits.input_bytes"),
        environ,
        network,
        limits.files,
        time.monotonic() + limits.input_seconds,
        "limits.input_seconds",
    )
    stores: dict[str, Store] = {}
    inputs = [open_input(text, f"input {label}", access, stores) for text, label in request["inputs"].items()]
    plans = together(lambda one: one.find(), inputs, access.progress)
    moves = [
        (number, entry, os.path.join(request["into"], str(number), relative))
        for number, plan in enumerate(plans)
        for relative, entry in plan.items()
    ]
    done = together(lambda move: inputs[move[0]].fetch(*move[1:]), moves, access.progress)
    parts: list[list[Entry]] = [[] for _ in inputs]
    for (number, _, _), entry in zip(moves, done):
        parts[number].append(entry)
    return {"fetched": [asdict(_told(one, number, parts[number])) for number, one in enumerate(inputs)]}


@dataclass(frozen=True)
class Input:
    """One address to fetch; `label` begins what messages say of it."""

    text: str
    label: str
    store: Store
    access: Access

    @property
    def address(self) -> Address:
        return parse_address(self.text, pins=("sha256",))

    def find(self) -> dict[str, Entry]:
        """Return relative path → file: the one file, or a folder's, which then are below the folder's name."""
        try:
            entries = self.store.find(self.address.url)
            names = Names(self.access.max_files)
            base = _local_name(self.address.url)
            if len(entries) == 1 and not entries[0].name:
                return {base: entries[0]}
            if self.address.sha256:
                raise ValueError("it is a folder; sha256 is for one file")
            return {os.path.join(base, names.take(entry.name, "file")): entry for entry in entries}
        except (StoreError, ValueError) as exc:
            raise _refusal(self.label, self.text, exc) from exc

    def fetch(self, entry: Entry, target: str) -> Entry:
        """Download one file, and see that it is the one that is pinned."""
        try:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            done = self.store.download(entry, target)
            digest = file_digest(target) if self.address.sha256 else ""
            if digest != self.address.sha256:
                raise ValueError(f"its SHA-256 is {digest}, not {self.address.sha256} (#sha256)")
        except (StoreError, ValueError, OSError) as exc:
            raise _refusal(self.label, self.text, exc) from exc
        return done or entry


def open_input(text: str, label: str, access: Access, stores: dict[str, Store]) -> Input:
    """Return the input at the address; `stores` has those that are open already. Raises InputsError."""
    scheme = scheme_of(text)
    try:
        if scheme not in stores:
            stores[scheme] = open_store(scheme, access)
    except StoreError as exc:
        raise _refusal(label, text, exc) from exc
    return Input(text, label, stores[scheme], access)


def _refusal(label: str, text: str, exc: Exception) -> InputsError:
    return InputsError(f"{label} ({shown(text)!r}) cannot be fetched: {getattr(exc, 'strerror', None) or exc}")


def _told(one: Input, number: int, files: Sequence[Entry]) -> Fetched:
    path = os.path.join(str(number), _local_name(one.address.url))
    lines = sorted(f"{entry.name}\0{entry.revision}" for entry in files)
    listing = hashlib.sha256("\0".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
    revision = files[0].revision if len(files) == 1 and not files[0].name else f"listing:{listing}"
    return Fetched(path, sum(entry.size or 0 for entry in files), revision)


def _local_name(url: str) -> str:
    """Return what the file or folder is called here: its own name, where that can be one."""
    try:
        return Names(1).take(file_name(url.rstrip("/")), "file") or NAMELESS
    except ValueError:
        return NAMELESS
