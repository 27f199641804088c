"""How code and inputs of this machine get to a cluster: small ones with the run itself, larger ones by a store."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from nuwrap.builds.source import Fetch, fetch_source, walk
from nuwrap.errors import PlatformError
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


@dataclass
class _Parcel:
    launch: Launch
    files: dict[str, str] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)


def deliver(launch: Launch, start: str, work: str, environ: Mapping[str, str], *, is_baked: bool = False) -> Delivery:
    """Return the launch with places that a container has; `work` is a folder for what is made on the way.

    `start` is the folder of a relative `code_src`. Code that is baked into the image stays there. Raises SourceError,
    FetchFailed and InputsError for what is not there, PlatformError for what is too much without a store.
    """
    parcel = _Parcel(launch)
    if launch.code_src and not _is_far(launch.code_src) and (launch.refresh_code or not is_baked):
        _add_code(parcel, start, work, environ)
    entities = {key: _add_entity(parcel, key, one, start) for key, one in launch.entities.items()}
    parcel.launch = replace(parcel.launch, entities=entities)
    _check_size(list(parcel.files.values()))
    return Delivery(parcel.launch, parcel.files, parcel.paths)


def _is_far(address: str) -> bool:
    """Tell an address that a container reaches as well as this machine does."""
    return has_scheme(address) and not address.removeprefix("git+").removeprefix("zip+").startswith(_FILE)


def _add_code(parcel: _Parcel, start: str, work: str, environ: Mapping[str, str]) -> None:
    """Pack the code as a run here would have it; a handler without a module gets the one that it means here."""
    launch = parcel.launch
    source = fetch_source(Fetch(launch, start, work, environ))
    path = os.path.join(work, CODE)
    _write_zip(source.folder, path)
    parcel.files[CODE] = path
    parcel.paths[f"{PLACE}/{CODE}"] = launch.code_src
    handler = launch.handler if ":" in launch.handler else f"{source.default_module}:{launch.handler}"
    parcel.launch = replace(launch, code_src=f"{PLACE}/{CODE}", handler=handler)


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


def _add_entity(parcel: _Parcel, key: str, entity: Mapping[str, Any], start: str) -> Mapping[str, Any]:
    path = str(entity["path"])
    if "://" in path and not path.startswith(_FILE):
        return entity
    here = os.path.join(start, path.removeprefix(_FILE))
    if not os.path.exists(here):
        names = [name for name, one in parcel.launch.inputs.items() if one == key]
        if names:
            raise InputsError(f"input {names[0]!r}: {path!r} does not exist")
        return entity
    at = f"inputs/{len(parcel.paths)}/{os.path.basename(here.rstrip(os.sep)) or 'input'}"
    for place, whole in _files_of(here, at):
        parcel.files[place] = whole
    parcel.paths[f"{PLACE}/{at}"] = path
    return {**entity, "path": f"{PLACE}/{at}"}


def _files_of(path: str, at: str) -> Iterator[tuple[str, str]]:
    if not os.path.isdir(path):
        yield at, os.path.realpath(path)
        return
    for name in walk(path):
        yield f"{at}/{name}", os.path.join(path, name)


def _check_size(paths: Sequence[str]) -> None:
    total = sum(os.path.getsize(path) for path in paths)
    if total > INLINE_BYTES or len(paths) > INLINE_FILES:
        raise PlatformError(
            f"code and inputs of this machine are {total} bytes in {len(paths)} files; {INLINE_BYTES} bytes in "
            f"{INLINE_FILES} files go to the cluster with a run. Set a store for more: `nuwrap config set "
            "artifacts_store s3://BUCKET/FOLDER`"
        )
