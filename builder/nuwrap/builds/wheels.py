"""Wheels in the context: downloaded here, with the index and log-in of this machine, so that no engine needs either."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence

from nuwrap.builds.source import said_error
from nuwrap.errors import PlatformError
from nuwrap.host import ask_host
from nuwrap.spec.build import BuildSettings, ContextFile, ImageFacts
from nuwrap.spec.function import PYTHON_VERSIONS, Function

FOLDER = "wheels"  # of the run's folder, and of the context
# Where a person says how an index is reached; the build's base image does not know it.
VARIABLES = (
    "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX",
    "NUWRAP_NETWORK",
)  # fmt: skip


class WheelsFailed(PlatformError):
    """The wheels could not be downloaded; reason and exit code are the host's."""

    phase = "requirements"

    def __init__(self, reason: str, exit_code: int) -> None:
        super().__init__(reason)
        self.exit_code = exit_code


def wants_wheels(function: Function, settings: BuildSettings, environ: Mapping[str, str]) -> bool:
    """Tell whether requirements come as wheels in the context: by the setting, else where an index is told of here."""
    if not function.requirements or settings.wheels == "never":
        return False
    return settings.wheels == "always" or any(environ.get(name) for name in VARIABLES)


def fetch_wheels(
    function: Function, base: ImageFacts, work: str, environ: Mapping[str, str], err: Sequence[int]
) -> list[ContextFile]:
    """Return the wheels, which lie in the work folder then, as files of the context. Raises WheelsFailed."""
    listed, into = os.path.join(work, "requirements.in"), os.path.join(work, FOLDER)
    with open(listed, "w", encoding="utf-8") as stream:
        stream.writelines(f"{one}\n" for one in function.requirements)
    platform = f"linux/{base.architecture or 'amd64'}"
    python = PYTHON_VERSIONS[function.python_version]
    command = ["wheels", "--requirements", listed, "--into", into, "--python", python, "--platform", platform]
    with tempfile.TemporaryFile() as said:
        answer = ask_host(command, environ, err=(*err, said.fileno()))
        if not answer.document:
            reason = said_error(said, "the wheels could not be downloaded, and nuwrap-host has not said why")
            raise WheelsFailed(f"{reason}\n`nuwrap config set build.wheels never` lets the build ask", answer.exit_code)
    os.unlink(listed)
    return [ContextFile(f"{FOLDER}/{name}", copied_from=os.path.join(into, name)) for name in sorted(os.listdir(into))]
