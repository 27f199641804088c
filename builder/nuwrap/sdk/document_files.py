"""YAML files of exports: where they go, and that each is there whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from nuwrap.errors import PlatformError, SpecError, UsageError
from nuwrap.spec.document import FILE_BYTES, dump_document

SEARCHED_BYTES = 16 * FILE_BYTES
_KEY = re.compile(rb"""^key: ['"]?(store://[^\s'"]+)['"]?\s*$""", re.MULTILINE)


def choose_path(filename: Any, default: str) -> str:
    """Return the absolute path of the file to write; a folder gets a file called `default`."""
    if filename is None:
        return os.path.abspath(default)
    if not isinstance(filename, (str, os.PathLike)) or not os.fspath(filename):
        raise UsageError(f"filename: {filename!r} is no path; allowed: a file or folder, or None for {default!r}")
    path = os.path.expanduser(os.fsdecode(filename))
    if path.endswith(os.sep) or os.path.isdir(path):
        path = os.path.join(path, default)
    return os.path.abspath(path)


def write_documents(documents: Mapping[str, Mapping[str, Any]], *, most: int = FILE_BYTES) -> None:
    """Write each document to its path: all of them are rendered and on the disk before the first takes its name.

    An earlier export of the same thing is replaced. Raises UsageError for a file that is anything else, and for a
    document of more than `most` bytes, PlatformError for a folder that does not take it; nothing has changed then.
    """
    for path, document in documents.items():
        _refuse_foreign(path, document["key"])
    texts = {path: _render(document, path, most) for path, document in documents.items()}
    written: dict[str, str] = {}
    try:
        for path, text in texts.items():
            target = os.path.realpath(path)  # a link stays one
            written[target] = _write_beside(target, text)
        for target, temporary in written.items():
            os.replace(temporary, target)
    except OSError as exc:
        raise PlatformError(
            f"cannot write {path!r}: {exc.strerror}; make its folder, or make that writable, or name another file"
        ) from exc
    finally:
        for temporary in written.values():
            with suppress(FileNotFoundError):
                os.unlink(temporary)


def _refuse_foreign(path: str, key: str) -> None:
    """Raise UsageError when a file is there that is no export of that key, of whichever version."""
    if not os.path.lexists(path) or (os.path.isfile(path) and _is_export_of(path, key)):
        return
    raise UsageError(
        f"{path!r} is there already, and it is no export of {_name(key)}; name another file, or remove that one"
    )


def _is_export_of(path: str, key: str) -> bool:
    try:
        with open(path, "rb") as stream:
            found = _KEY.search(stream.read(SEARCHED_BYTES))
    except OSError as exc:
        raise PlatformError(f"cannot read {path!r}, which is there already: {exc.strerror}; name another file") from exc
    return _name(found[1].decode("utf-8", "replace")) == _name(key) if found else not os.path.getsize(path)


def _name(key: str) -> str:
    """Return the key without the version."""
    head, slash, last = key.rpartition("/")
    return head + slash + last.partition(":")[0]


def _render(document: Mapping[str, Any], path: str, most: int) -> str:
    try:
        return dump_document(document, most=most)
    except SpecError as exc:
        raise UsageError(f"cannot write {path!r}: {exc}") from exc


def _write_beside(target: str, text: str) -> str:
    """Write the text to a new file of the same folder, and return its path."""
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f".{name}.{secrets.token_hex(4)}")
    try:
        with open(temporary, "x", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        if os.path.exists(target):
            shutil.copymode(target, temporary)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    return temporary
