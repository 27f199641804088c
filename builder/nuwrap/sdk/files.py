"""Files that `log_dataitem` and its like keep: below `.nuwrap/data/` of the current folder, or in a store."""

from __future__ import annotations

import os
import shutil
from typing import Any

from nuwrap.errors import PlatformError, UsageError
from nuwrap.platforms.run_folder import make_folder
from nuwrap.runs.transfer import copy
from nuwrap.sdk import context
from nuwrap.store import EntityRecord
from nuwrap_runtime import entities as runtime


def keep(value: Any, record: EntityRecord, path: str | None, *, is_path: bool) -> str:
    """Keep a copy of a file or folder, or a value as a file, and return its absolute path or its address.

    `path` is an address `s3://…` that gets it instead; one that ends with `/` gets the file's name too. Raises
    UsageError for what cannot be kept, PlatformError for a folder or store that does not take it.
    """
    if path is not None and not path.startswith("s3://"):
        raise UsageError(f"path: {path!r} is no address that can be written; allowed: s3://bucket/name, or no path")
    folder = make_folder(os.getcwd(), "data", record.id)
    try:
        file = _copy(value, record, folder) if is_path else _write(value, record, folder)
        if path is None:
            return file
        address = path + os.path.basename(file) if path.endswith("/") else path
        copy(file, address)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder)
    return address


def _copy(source: Any, record: EntityRecord, folder: str) -> str:
    text = os.path.expanduser(os.fspath(source)) if isinstance(source, (str, os.PathLike)) else ""
    if not text or not os.path.exists(text):
        raise UsageError(
            f"log_{record.type} {record.name!r}: source {source!r} is not there; allowed: a path of this machine, or "
            "an address (s3://, http://, https://)"
        )
    target = os.path.join(folder, os.path.basename(os.path.abspath(text)))
    try:
        if os.path.isdir(text):
            shutil.copytree(text, target)
        else:
            shutil.copyfile(text, target)
    except (OSError, shutil.Error) as exc:
        raise PlatformError(f"cannot copy {text!r} to {target!r}: {exc}") from exc
    return target


def _write(value: Any, record: EntityRecord, folder: str) -> str:
    """Write a data frame, bytes or a figure to a file that is called as the entity is."""
    if isinstance(value, (str, os.PathLike)):
        raise UsageError(f"log_{record.type} {record.name!r}: data is a {type(value).__name__}; a path is source=PATH")
    files = runtime.open_files(folder, context.say)
    path = runtime.write_value(files, value, record.name, record.type)
    target = os.path.join(folder, record.name + os.path.splitext(path)[1])
    os.replace(path, target)
    return target
