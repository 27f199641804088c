"""How code and inputs of this machine get to a cluster: small ones with the run itself, larger ones by a store."""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import quote

from nuwrap.builds.source import BLOCK_BYTES, Fetch, fetch_source, said_error, walk
from nuwrap.errors import PlatformError
from nuwrap.host import ask_host
from nuwrap.spec.claims import is_in_claim
from nuwrap.spec.function import has_scheme
from nuwrap_runtime.errors import InputsError
from nuwrap_runtime.launch import Launch

PLACE: Final = "/run/nuwrap"  # where a container has what comes with the run
CODE: Final = "code.zip"
INLINE_BYTES: Final = 700 * 1024  # in all; a Secret has 1 MiB, in base64 (core/v1: MaxSecretSize)
INLINE_FILES: Final = 200
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_FILE: Final = "file://"


@dataclass(frozen=True)
class Delivery:
    """A launch as the cluster reads it. `files` come with the run: their place below `PLACE`, their path here.

    `paths` tells of the container's paths of code and inputs which ones they are here.
    """

    launch: Launch
    files: Mapping[str, str] = field(default_factory=dict)
    paths: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Piece:
    """Something of this machine that a run needs: its path here, its place below `PLACE`, and how the user named it."""

    path: str
    at: str
    named: str


def deliver(
    launch: Launch, start: str, work: str, environ: Mapping[str, str], *, is_baked: bool = False, store: str = ""
) -> Delivery:
    """Return the launch with places that a container has; `work` is a folder for what is made on the way.

    `start` is the folder of a relative `code_src`. Code that is baked into the image stays there. What is too much for
    a run to bring goes to the store, by its digest. Raises SourceError, FetchFailed and InputsError for what is not
    there, PlatformError for what is too much without a store.
    """
    try:
        return _deliver(launch, start, work, environ, is_baked=is_baked, store=store)
    except OSError as exc:
        raise InputsError(f"{exc.filename!r} cannot be read, and the run needs it: {exc.strerror}") from exc


def _deliver(
    launch: Launch, start: str, work: str, environ: Mapping[str, str], *, is_baked: bool, store: str
) -> Delivery:
    is_needed = _has_code_here(launch) and (launch.refresh_code or not is_baked)
    code = _pack_code(launch, start, work, environ) if is_needed else None
    inputs = {key: piece for key, one in launch.entities.items() if (piece := _find_input(launch, key, one, start))}
    inputs = {key: replace(one, at=f"inputs/{number}/{one.at}") for number, (key, one) in enumerate(inputs.items())}
    pieces = [*([code[0]] if code else []), *inputs.values()]
    files = {place: path for one in pieces for place, path in _files_of(one)}
    if not _fits(files.values()):
        if not store or is_in_claim(store):
            raise _too_much(files.values(), store)
        places = {one.at: _upload(one, store, environ) for one in pieces}
        files = {}
    else:
        places = {one.at: f"{PLACE}/{one.at}" for one in pieces}
    if code:
        address = places[CODE]
        launch = replace(launch, code_src=f"zip+{address}" if "://" in address else address, handler=code[1])
    entities = {
        key: {**one, "path": places[inputs[key].at]} if key in inputs else one for key, one in launch.entities.items()
    }
    return Delivery(replace(launch, entities=entities), files, {places[one.at]: one.named for one in pieces})


def _has_code_here(launch: Launch) -> bool:
    return bool(launch.code_src) and not _is_far(launch.code_src)


def _is_far(address: str) -> bool:
    """Tell an address that a container reaches as well as this machine does."""
    return has_scheme(address) and not address.removeprefix("git+").removeprefix("zip+").startswith(_FILE)


def _pack_code(launch: Launch, start: str, work: str, environ: Mapping[str, str]) -> tuple[_Piece, str]:
    """Pack the code as a run here would have it; a handler without a module gets the one that it means here."""
    alone = replace(launch, inputs={}, parameters={}, init_parameters={})  # the pod gets its inputs from where they are
    source = fetch_source(Fetch(alone, start, work, environ))
    path = os.path.join(work, CODE)
    _write_zip(source.folder, path)
    handler = launch.handler if ":" in launch.handler else f"{source.default_module}:{launch.handler}"
    return _Piece(path, CODE, launch.code_src), handler


def _write_zip(folder: str, path: str) -> None:
    """Write the folder's files; the same files make the same archive."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in walk(folder):
            whole = os.path.join(folder, name)
            is_link = os.path.islink(whole)
            about = zipfile.ZipInfo(name, _EPOCH)
            about.compress_type = zipfile.ZIP_DEFLATED
            about.external_attr = (os.lstat(whole).st_mode & 0o170755) << 16
            if is_link:
                archive.writestr(about, os.fsencode(os.readlink(whole)))
                continue
            with open(whole, "rb") as stream:
                archive.writestr(about, stream.read())


def _find_input(launch: Launch, key: str, entity: Mapping[str, Any], start: str) -> _Piece | None:
    """Return what of this machine the entity is, None for an address, and for what is not here and nobody needs."""
    path = str(entity["path"])
    if "://" in path and not path.startswith(_FILE):
        return None
    here = os.path.join(start, path.removeprefix(_FILE))
    if os.path.exists(here):
        return _Piece(os.path.realpath(here), os.path.basename(here.rstrip(os.sep)) or "input", path)
    names = [name for name, one in launch.inputs.items() if one == key]
    if names:
        raise InputsError(f"input {names[0]!r}: {path!r} does not exist")
    return None


def _files_of(piece: _Piece) -> Iterator[tuple[str, str]]:
    if not os.path.isdir(piece.path):
        yield piece.at, piece.path
        return
    for name in walk(piece.path):
        yield f"{piece.at}/{name}", os.path.join(piece.path, name)


def _fits(paths: Collection[str]) -> bool:
    return sum(map(os.path.getsize, paths)) <= INLINE_BYTES and len(paths) <= INLINE_FILES


def _too_much(paths: Collection[str], store: str) -> PlatformError:
    why = f"artifacts_store {store!r} is a claim, which takes outputs alone. " if store else ""
    return PlatformError(
        f"code and inputs of this machine are {sum(map(os.path.getsize, paths))} bytes in {len(paths)} files; "
        f"{INLINE_BYTES} bytes in {INLINE_FILES} files go to the cluster with a run. {why}Set a store for more: "
        "`nuwrap config set artifacts_store s3://BUCKET/FOLDER`"
    )


def _upload(piece: _Piece, store: str, environ: Mapping[str, str]) -> str:
    """Put the piece into the store, by its digest, and return its address. Raises PlatformError."""
    name = CODE if piece.at == CODE else os.path.basename(piece.at)
    kind = "code" if piece.at == CODE else "inputs"
    address = f"{store.rstrip('/')}/{kind}/{_digest(piece)}/{quote(name)}"
    with tempfile.TemporaryFile() as said:
        answer = ask_host(["store", piece.path, address], environ, err=(said.fileno(),))
        if not answer.document:
            reason = said_error(said, "nuwrap-host does not say why")
            raise PlatformError(f"{piece.named!r} cannot be put into artifacts_store {store!r}: {reason}")
    return address


def _digest(piece: _Piece) -> str:
    total = hashlib.sha256()
    for place, path in sorted(_files_of(piece)):
        total.update(place.encode("utf-8", "surrogateescape") if os.path.isdir(piece.path) else b"")
        with open(path, "rb") as stream:
            while block := stream.read(BLOCK_BYTES):
                total.update(block)
    return total.hexdigest()[:32]
