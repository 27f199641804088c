"""The toolkit's errors, on top of the runtime's tree. Imports nothing else of ours.

NuwrapError                 the runtime's
├── RunFailed         1     a run that did not complete, for who wants it raised
├── UsageError        2     an argument, a flag, a file that was named
│   ├── SpecError     2     a function file, a function: a ValueError too
│   └── NotFound      2     a project, a function, a run, an entity that is not in the history: a LookupError too
└── PlatformError    10     the runtime's
    ├── BuildError   10     an image that could not be built
    ├── RegistryError 10    a registry that cannot be reached, or refuses
    ├── ResultError  10     what a run has left behind
    └── StoreError   10     the history's file
"""

from __future__ import annotations

from nuwrap_runtime.errors import NuwrapError, PlatformError

__all__ = [
    "BuildError",
    "NotFound",
    "NuwrapError",
    "PlatformError",
    "RegistryError",
    "ResultError",
    "RunFailed",
    "SpecError",
    "StoreError",
    "UsageError",
]


class RunFailed(NuwrapError):
    """A run that has ended without being COMPLETED; the text has its reason."""

    phase = "run"
    exit_code = 1


class UsageError(NuwrapError):
    """An argument that cannot be taken as it is."""

    phase = "usage"
    exit_code = 2


class SpecError(UsageError, ValueError):
    """A function that is not valid; the text lists every fault, one a line."""

    phase = "spec"


class NotFound(UsageError, LookupError):
    """A name or an id that the history does not have; the text names what is alike."""


class BuildError(PlatformError):
    """An image that could not be built.

    `kind` is `auth`, `pull`, `resolution`, `instruction`, `push`, `memory`, `disk`, `timeout`, `stopped`, `engine` or
    `check` (what was built is not what was planned). The text has the last lines of the log and what helps.
    """

    phase = "build"

    def __init__(self, message: str, kind: str = "engine") -> None:
        super().__init__(message)
        self.kind = kind


class RegistryError(PlatformError):
    """A registry that cannot be reached, refuses, or has not what was asked for.

    `kind` is `auth`, `missing`, `network` or `protocol`.
    """

    phase = "registry"

    def __init__(self, message: str, kind: str = "network") -> None:
        super().__init__(message)
        self.kind = kind


class ResultError(PlatformError):
    """A result that is missing, too large, not of the schema, or that names a path outside its run's folder."""


class StoreError(PlatformError):
    """The history cannot be read or written, or what was asked does not fit what is in it."""
