"""The Python interpreters of this machine. Each is started once before it is believed: a pyenv shim of a version that
is not active is there and fails.
"""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from nuwrap.command import Command, run
from nuwrap.errors import PlatformError
from nuwrap_runtime.launch import Launch

PROBE = (
    "import sys, json; print(json.dumps(['%d.%d' % sys.version_info[:2], sys.prefix, sys.base_prefix,"
    " sys.implementation.name, sys.executable]))"
)
PROBE_SECONDS = 20.0
SUPPORTED = ("3.9", "3.10", "3.11", "3.12", "3.13")
SYSTEM_FOLDERS = ("/usr/local/bin", "/usr/bin", "/opt/homebrew/bin")


@dataclass(frozen=True)
class Interpreter:
    """An interpreter that answered: what it calls itself (the program behind a shim), and its minor version."""

    path: str
    version: str


def find_interpreter(version: str, environ: Mapping[str, str]) -> Interpreter:
    """Return an interpreter of that minor version.

    The running one's base comes first, then PATH, pyenv, uv and the system's folders. Never the toolkit's own virtual
    environment: its packages are not the user's. Raises PlatformError naming what is there instead.
    """
    for path in _candidates(version, environ):
        found = _own_base(path) or _probe(path, environ)
        if found and found.version == version:
            return found
    there = [f"{one.version} ({one.path})" for one in find_interpreters(environ)]
    raise PlatformError(
        f"no Python {version} on this machine; found: {', '.join(there) or 'none'}. Install it, for example with "
        f"`uv python install {version}`, set another python_version, or name an interpreter with --python PATH"
    )


def choose_interpreter(
    named: str, version: str, environ: Mapping[str, str], *, say: Callable[[str], None]
) -> Interpreter:
    """Return the interpreter that is named, else one of the version; a named one of another version is a warning.

    "" and the launch document's default name none. Raises PlatformError.
    """
    if named in ("", Launch(handler="").python):
        return find_interpreter(version, environ)
    found = check_interpreter(named, environ)
    if found.version != version:
        say(f"--python {named!r} is Python {found.version}; the function asks for {version}")
    return found


def check_interpreter(name: str, environ: Mapping[str, str]) -> Interpreter:
    """Return the interpreter that a person named by path, or by name on PATH. Raises PlatformError."""
    path = shutil.which(name, path=environ.get("PATH", os.defpath))
    found = _probe(os.path.abspath(path), environ, own=True) if path else None
    if not found:
        raise PlatformError(f"--python {name!r} is no Python interpreter that runs here; name its path")
    if found.version not in SUPPORTED:
        raise PlatformError(f"--python {name!r} is Python {found.version}; allowed: {', '.join(SUPPORTED)}")
    return found


def find_interpreters(environ: Mapping[str, str]) -> list[Interpreter]:
    """Return the first of each supported version, for a message."""
    found = []
    for version in SUPPORTED:
        probed = (_probe(path, environ) for path in _candidates(version, environ))
        found += [one for one in probed if one and one.version == version][:1]
    return found


def _own_base(path: str) -> Interpreter | None:
    """Return the program that this process is itself: it need not be started to be believed, which takes 20 ms."""
    is_own = path == getattr(sys, "_base_executable", "") and sys.implementation.name == "cpython"
    return Interpreter(path, "{}.{}".format(*sys.version_info)) if is_own else None


def _candidates(version: str, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield paths that may be such an interpreter, the best first, each once."""
    seen = set()
    for path in _places(version, environ):
        if path not in seen and os.path.isfile(path) and os.access(path, os.X_OK):
            seen.add(path)
            yield path


def _places(version: str, environ: Mapping[str, str]) -> Iterator[str]:
    name = f"python{version}"
    if version == "{}.{}".format(*sys.version_info):
        yield getattr(sys, "_base_executable", sys.executable)
    for folder in environ.get("PATH", os.defpath).split(os.pathsep):
        if os.path.isabs(folder):  # a relative one means another place once the run has its own folder
            yield os.path.join(folder, name)
    home = environ.get("HOME", "")
    pyenv = environ.get("PYENV_ROOT") or os.path.join(home, ".pyenv")
    for folder in _newest(glob.glob(os.path.join(pyenv, "versions", f"{version}*")), rf"{re.escape(version)}(\.\d+)?"):
        yield os.path.join(folder, "bin", name)
    data = environ.get("XDG_DATA_HOME") or os.path.join(home, ".local", "share")
    managed = environ.get("UV_PYTHON_INSTALL_DIR") or os.path.join(data, "uv", "python")
    pattern = rf"cpython-{re.escape(version)}\.\d+-.*"
    for folder in _newest(glob.glob(os.path.join(managed, f"cpython-{version}.*")), pattern):
        yield os.path.join(folder, "bin", name)
    yield from (os.path.join(folder, name) for folder in SYSTEM_FOLDERS)


def _newest(folders: Sequence[str], pattern: str) -> list[str]:
    """Return the folders whose name has the form (free-threaded and development builds have not), newest first."""
    fitting = [folder for folder in folders if re.fullmatch(pattern, os.path.basename(folder))]
    return sorted(fitting, key=lambda one: [int(n) for n in re.findall(r"\d+", os.path.basename(one))], reverse=True)


def _probe(path: str, environ: Mapping[str, str], *, own: bool = False) -> Interpreter | None:
    """Start the interpreter and return what it is; None when it is none, or the toolkit's own environment."""
    try:
        done = run(Command([path, "-I", "-c", PROBE], environ), timeout_s=PROBE_SECONDS)
        version, prefix, base, implementation, executable = json.loads(done.output)
    except (PlatformError, ValueError):
        return None
    is_toolkits = prefix != base and os.path.realpath(prefix) == os.path.realpath(sys.prefix)
    if done.returncode or implementation != "cpython" or (is_toolkits and not own):
        return None
    return Interpreter(executable or path, version)
