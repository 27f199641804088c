"""Virtual environments in the cache: one a request, made whole or not at all, read-only, shared by all starts.

    envs/KEY.lock            held while an environment of this request is made
    envs/KEY.json            the answer: which folder serves, or that the interpreter itself does; renamed into place
    envs/KEY/XXXXXXXX/       environments; one without nuwrap.json was never finished and is removed by the next maker

An environment that `refresh` has replaced stays until it is cleaned away (`nuwrap-host cache clean`), which a running
function prevents by its hold. Nothing here knows an installer.
"""

from __future__ import annotations

import fcntl
import glob
import json
import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import IO, Any, Callable, Optional

from nuwrap_runtime.errors import PlatformError
from nuwrap_runtime.host.holds import claim, hold
from nuwrap_runtime.host.interpreter import Interpreter, private_folder, write_json
from nuwrap_runtime.host.kept import GONE, Kept, is_in_use, leftover, leftovers, names_in, remove_old, touch, used_at
from nuwrap_runtime.host.process import Command, run
from nuwrap_runtime.host.workspace import remove_tree

FORMAT = 1
MARKER = "nuwrap.json"
LOCK_SECONDS = 0.2  # between two looks at a lock that another start holds
BASE_FILE = "nuwrap-base.pth"


@dataclass(frozen=True)
class Environment:
    """What a worker is started with: `python`, and what it has of the requirements.

    `requirements` are `name==version` lines (`name @ address` for what came from no index), sorted, all that the
    requirements need included. `installed` tells that an environment of ours serves, not the interpreter itself.
    """

    python: str
    requirements: tuple[str, ...] = ()
    installed: bool = False
    key: str = ""


@dataclass(frozen=True)
class Place:
    """Where the environments of one request lie."""

    envs: str
    key: str

    @property
    def answer(self) -> str:
        """The file that says which environment serves."""
        return os.path.join(self.envs, self.key + ".json")

    @property
    def lock(self) -> str:
        """The file that is held while an environment is made."""
        return os.path.join(self.envs, self.key + ".lock")

    @property
    def folder(self) -> str:
        """The folder of this request's environments."""
        return os.path.join(self.envs, self.key)


def open_place(cache: str, key: str) -> Place:
    """Return the place of a request; the folder of all environments is made 0700. Raises PlatformError."""
    return Place(private_folder(os.path.join(cache, "envs")), key)


def load_answer(place: Place) -> Optional[Environment]:
    """Return the environment that serves this request, None when none was made or it is gone."""
    try:
        with open(place.answer, encoding="utf-8") as stream:
            document = json.load(stream)
        found = Environment(**{**document, "requirements": tuple(document["requirements"])})
    except (OSError, ValueError, KeyError, TypeError):  # none, or of another version: make it
        return None
    finished = os.path.join(os.path.dirname(os.path.dirname(found.python)), MARKER)
    return found if os.path.exists(found.python) and (not found.installed or os.path.exists(finished)) else None


def save_answer(place: Place, environment: Environment) -> None:
    """Make this environment the one that serves the request."""
    write_json(place.answer, asdict(environment))


@contextmanager
def locked(place: Place, say: Callable[[str], None], *, seconds: float) -> Iterator[None]:
    """Be the only one that makes an environment for this request; says so when another start is at it.

    Raises PlatformError when the other is not done after that many seconds.
    """
    with open(place.lock, "w", encoding="ascii") as lock:
        if not _try_lock(lock):
            say("waiting for another start that installs the same requirements")
            deadline = time.monotonic() + seconds
            while not _try_lock(lock):
                if time.monotonic() > deadline:
                    raise PlatformError(
                        f"another start still installs the same requirements after {seconds:g} s (limits.seconds); "
                        f"end the process that holds {place.lock!r}"
                    )
                time.sleep(LOCK_SECONDS)
        yield


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def new_folder(place: Place) -> Iterator[str]:
    """Give an empty folder for an environment, removed again unless `finish` was called on it.

    Only under the lock: what a killed start has left is removed first.
    """
    private_folder(place.folder)
    for name in os.listdir(place.folder):
        if name.startswith(GONE) or not is_finished(os.path.join(place.folder, name)):
            remove_tree(os.path.join(place.folder, name))
    folder = os.path.join(place.folder, os.urandom(4).hex())
    os.mkdir(folder)
    try:
        yield folder
    finally:
        if not is_finished(folder):
            remove_tree(folder)


def is_finished(folder: str) -> bool:
    """Tell whether the environment was made to its end."""
    return os.path.exists(os.path.join(folder, MARKER))


def hold_environment(environment: Environment) -> Optional[int]:
    """Return a descriptor: the environment, used now, is not cleaned away while it is open, here or in a child.

    None when it is gone, by a cleaning since it was found: ensure it once more. Only for an installed one.
    """
    held = hold(os.path.join(_folder_of(environment), MARKER))
    if held is not None:
        touch(held)
    return held


def is_environment_in_use(environment: Environment) -> bool:
    """Tell whether a living process holds the environment."""
    folder = _folder_of(environment)
    return is_in_use(Kept("environment", "", folder, os.path.join(folder, MARKER), 0))


def _folder_of(environment: Environment) -> str:
    return os.path.dirname(os.path.dirname(environment.python))


def find_kept(cache: str) -> list[Kept]:
    """Return all finished environments in the cache; those that serve no request any more are useless."""
    return [kept for place in _places(cache) for kept in _find_in(place)]


def _find_in(place: Place) -> list[Kept]:
    """Return the environments of one request; they count as in use while one is made: it may serve in a moment."""
    folders = [os.path.join(place.folder, name) for name in names_in(place.folder) if not name.startswith(GONE)]
    folders = [folder for folder in folders if is_finished(folder)]
    claimed = claim(place.lock)
    if claimed is None:
        return [_kept(place, folder, lock=place.lock) for folder in folders]
    serving = load_answer(place)
    os.close(claimed)
    current = _folder_of(serving) if serving else ""
    return [_kept(place, one, lock=os.path.join(one, MARKER), is_useless=one != current) for one in folders]


def _kept(place: Place, folder: str, *, lock: str, is_useless: bool = False) -> Kept:
    marker = os.path.join(folder, MARKER)
    try:
        with open(marker, encoding="utf-8") as stream:
            what = ", ".join(json.load(stream)["requirements"])
    except (OSError, ValueError, KeyError, TypeError):
        what = ""
    key = f"{place.key}/{os.path.basename(folder)}"
    return Kept("environment", key, folder, lock, used_at(marker), what, is_useless)


def find_leftovers(cache: str) -> list[Kept]:
    """Return what killed starts have left half-made; a start that installs the same holds it."""
    found = []
    for place in _places(cache):
        found += leftovers(place.folder)
        for name in names_in(place.folder):
            path = os.path.join(place.folder, name)
            if not name.startswith(GONE) and not is_finished(path):
                found.append(leftover(path, place.lock))
    return found


def forget(cache: str, before: float) -> None:
    """Remove the answers from before that time that name no environment of the cache."""
    for place in _places(cache):
        if not names_in(place.folder):
            remove_old(place.answer, before)


def _places(cache: str) -> list[Place]:
    envs = os.path.join(cache, "envs")
    return [Place(envs, key) for key in sorted({name.partition(".")[0] for name in names_in(envs)})]


def make_environment(
    base: Interpreter, folder: str, environ: Mapping[str, str], *, isolated: bool, timeout_s: float
) -> str:
    """Make a virtual environment without an installer in it and return its python.

    Unless `isolated`, it has the packages of the base too, behind its own: by a `.pth` file and not by
    `--system-site-packages`, which would reach past a base that is a virtual environment itself. Raises PlatformError.
    """
    argv = [base.executable, "-I", "-m", "venv", "--without-pip", folder]
    done = run(Command(argv, environ, cwd=os.path.dirname(folder), timeout_s=timeout_s))
    python = os.path.join(folder, "bin", "python")
    if done.returncode or not os.path.exists(python):
        output = [*done.output.decode("utf-8", "replace").splitlines(), *done.log]
        reason = "no end in time (limits.seconds)" if done.timed_out else "\n".join(output[-5:])
        raise PlatformError(
            f"python {base.executable!r} cannot make a virtual environment:\n{reason}\n"
            "install its module venv (Debian: python3-venv) or name another interpreter with python"
        )
    if not isolated:
        # A virtual environment's start reads its .pth files twice (CPython site.py), the base's are read once.
        lines = [f"import site, sys; {path!r} in sys.path or site.addsitedir({path!r})\n" for path in base.site]
        with open(os.path.join(packages_folder(folder), BASE_FILE), "w", encoding="utf-8") as stream:
            stream.writelines(lines)
    return python


def packages_folder(folder: str) -> str:
    """Return the site-packages of an environment; its name has the version, and a `t` in free-threaded builds."""
    (found,) = glob.glob(os.path.join(glob.escape(folder), "lib", "*", "site-packages"))
    return found


def finish(folder: str, document: Mapping[str, Any]) -> None:
    """Take all write permission from the environment and mark it as whole, in this order: a mark is never untrue."""
    marker = os.path.join(folder, MARKER)
    with open(marker + ".part", "w", encoding="utf-8") as stream:
        json.dump(document, stream)
    for path, _folders, files in os.walk(folder):
        for name in files:
            _make_read_only(os.path.join(path, name))
        if path != folder:
            _make_read_only(path)
    os.replace(marker + ".part", marker)
    _make_read_only(folder)


def _make_read_only(path: str) -> None:
    if not os.path.islink(path):  # bin/python links to the base
        os.chmod(path, stat.S_IMODE(os.stat(path).st_mode) & ~0o222)
