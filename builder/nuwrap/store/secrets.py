"""Secrets, outside the history: a file each, `secrets/<project>/<NAME>`, for this user alone.

A value stands in no message, no exception and no `repr` of this module.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from nuwrap.errors import NotFound, StoreError, UsageError
from nuwrap.store.home import make_folder
from nuwrap.store.private import open_folder, read_file, say_why, write_whole
from nuwrap_runtime.launch import NAME, NAME_FORM, SECRET_NAME
from nuwrap_runtime.schema import did_you_mean, show

FOLDER: Final = "secrets"
VALUE_BYTES: Final = 1024**2
NAMES_FORM: Final = "letters, digits, '_', '-' and '.'; the first and the last a letter, a digit or '_'; 253 at most"


class Secrets:
    """The secrets of a home folder."""

    def __init__(self, home: str) -> None:
        self._home = os.path.abspath(home)

    def set(self, project: str, name: str, value: str) -> None:
        """Keep the value, in place of an earlier one. Raises UsageError for a name or a value that cannot be kept."""
        _check(project, name)
        content = _encode(name, value)
        make_folder(self._home)
        try:
            with self._folder(project, make=True) as folder, _explained(f"write secret {name!r}", project):
                write_whole(folder, name, content)
        except FileNotFoundError as exc:
            raise StoreError(f"cannot write secret {name!r}: project {project!r} was deleted meanwhile") from exc

    def get(self, project: str, name: str) -> str:
        """Return the value. Raises NotFound naming what is there."""
        _check(project, name)
        try:
            with self._folder(project) as folder, _explained(f"read secret {name!r}", project):
                content = read_file(folder, name, VALUE_BYTES)
        except FileNotFoundError:
            raise self._not_found(project, name) from None
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError:
            raise StoreError(f"secret {name!r} of project {project!r} is not UTF-8 text; set it anew") from None

    def names(self, project: str) -> list[str]:
        """Return the names in order."""
        _check(project)
        try:
            with self._folder(project) as folder:
                return sorted(name for name in os.listdir(folder) if re.fullmatch(SECRET_NAME, name))
        except FileNotFoundError:
            return []

    def delete(self, project: str, name: str) -> None:
        """Remove the secret. Raises NotFound."""
        _check(project, name)
        try:
            with self._folder(project) as folder, _explained(f"delete secret {name!r}", project):
                os.unlink(name, dir_fd=folder)
        except FileNotFoundError:
            raise self._not_found(project, name) from None

    def delete_project(self, project: str) -> None:
        """Remove all secrets of the project, which may have none."""
        _check(project)
        try:
            with self._folder(project) as folder, _explained("delete the secrets", project):
                for name in os.listdir(folder):
                    os.unlink(name, dir_fd=folder)
            with self._root() as root, _explained("delete the secrets", project):
                os.rmdir(project, dir_fd=root)
        except FileNotFoundError:  # no secrets, or another process deletes them too
            return

    @contextmanager
    def _root(self, *, make: bool = False) -> Iterator[int]:
        path = os.path.join(self._home, FOLDER)
        with _explained_folder(path), open_folder(path, make=make) as root:
            yield root

    @contextmanager
    def _folder(self, project: str, *, make: bool = False) -> Iterator[int]:
        path = os.path.join(self._home, FOLDER, project)
        with self._root(make=make) as root, _explained_folder(path), open_folder(project, root, make=make) as folder:
            yield folder

    def _not_found(self, project: str, name: str) -> NotFound:
        names = self.names(project)
        there = f"there is: {', '.join(names[:20])}" if names else "it has none yet"
        return NotFound(
            f"project {project!r} has no secret {name!r}{did_you_mean(name, names)}; {there}. "
            f"`nuwrap secret set {name}` or new_secret() makes it"
        )


@contextmanager
def _explained(act: str, project: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise StoreError(f"cannot {act} of project {project!r}: {say_why(exc)}") from exc


@contextmanager
def _explained_folder(path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise StoreError(f"cannot use the folder of secrets {path!r}: {say_why(exc)}") from exc


def _check(project: Any, name: Any = "x") -> None:
    if not isinstance(project, str) or not re.fullmatch(NAME, project):
        raise UsageError(f"project: {show(project)} is no name; allowed: {NAME_FORM}")
    if not isinstance(name, str) or not re.fullmatch(SECRET_NAME, name):
        raise UsageError(f"secret: {show(name)} is no name; allowed: {NAMES_FORM}")


def _encode(name: str, value: Any) -> bytes:
    if not isinstance(value, str):
        raise UsageError(f"the value of secret {name!r} is {type(value).__name__}; allowed: text")
    try:
        content = value.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(f"the value of secret {name!r} is no Unicode text; keep bytes as base64") from None
    if len(content) > VALUE_BYTES:
        raise UsageError(f"the value of secret {name!r} has {len(content)} bytes; allowed: {VALUE_BYTES}")
    return content
