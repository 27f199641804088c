"""What a user has set for all projects: `config.json` of the home folder."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final

from nuwrap.errors import StoreError, UsageError
from nuwrap.store.home import make_folder
from nuwrap.store.private import open_folder, read_file, say_why, write_whole
from nuwrap_runtime.schema import did_you_mean, show

FILE_NAME: Final = "config.json"
FILE_BYTES: Final = 1024**2


@dataclass(frozen=True)
class Config:
    """Settings with their defaults; `platform` is where a run goes that names none, checked where it is used."""

    platform: str = "local"


def read_config(home: str) -> Config:
    """Return the settings; without a file the defaults. Raises UsageError with all faults of the file, StoreError."""
    path = _path(home)
    try:
        with open_folder(os.path.dirname(path)) as folder:
            content = read_file(folder, os.path.basename(path), FILE_BYTES)
    except FileNotFoundError:
        return Config()
    except OSError as exc:
        raise StoreError(f"cannot read {path!r}: {say_why(exc)}") from exc
    document = _parse(content, path)
    faults = [fault for name, value in document.items() for fault in _faults(name, value)]
    if faults:
        raise UsageError(f"{path!r} is not valid:\n" + "\n".join(f"  {line}" for line in faults))
    return Config(**document)


def write_config(home: str, name: str, value: str) -> None:
    """Set one setting. Raises UsageError for one that does not exist or a wrong value, StoreError."""
    faults = _faults(name, value)
    if faults:
        raise UsageError(faults[0])
    config = replace(read_config(home), **{name: value})
    make_folder(os.path.abspath(home))
    path = _path(home)
    try:
        with open_folder(os.path.dirname(path)) as folder:
            write_whole(folder, os.path.basename(path), json.dumps(asdict(config), indent=1).encode() + b"\n")
    except OSError as exc:
        raise StoreError(f"cannot write {path!r}: {say_why(exc)}") from exc


def _path(home: str) -> str:
    """Return where the file lies, be it by a link: people keep such files in a repository of their own."""
    return os.path.realpath(os.path.join(home, FILE_NAME))


def _parse(content: bytes, path: str) -> dict[str, Any]:
    try:
        document = json.loads(content, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as exc:
        raise UsageError(f"{path!r} is not JSON: {exc}; mend it, or remove it to have the defaults") from exc
    if not isinstance(document, dict):
        raise UsageError(f"{path!r} is not a JSON object: {show(document)}; remove it to have the defaults")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(map(repr, twice))} is given twice")
    return dict(pairs)


def _faults(name: str, value: Any) -> list[str]:
    known = [one.name for one in fields(Config)]
    if name not in known:
        return [f"{show(name)}: unknown setting{did_you_mean(name, known)}; allowed: {', '.join(known)}"]
    if not isinstance(value, str) or not value.strip():
        return [f"{name}: {show(value)} is not allowed; allowed: text"]
    return []
