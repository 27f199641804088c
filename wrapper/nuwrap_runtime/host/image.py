"""What a built image says of itself: which code lies in it, and what was installed into its interpreter.

    /opt/function/                       the code, as fetched
    /opt/nuwrap-image/source.json        where it came from
    /opt/nuwrap-image/installed.json     which requirements the interpreter has, by `nuwrap-host install`

The same places are in nuwrap/spec/build.py. `$NUWRAP_IMAGE` names another folder than /opt, for tests.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Callable, Optional

from nuwrap_runtime.errors import PlatformError, SourceError
from nuwrap_runtime.host.addresses import shown
from nuwrap_runtime.host.environments import Environment
from nuwrap_runtime.host.interpreter import Interpreter, find_interpreter, write_json
from nuwrap_runtime.host.sources import is_local
from nuwrap_runtime.launch import API, Launch, decode_base64

PLACE = "/opt"
CODE, RECORDS = "function", "nuwrap-image"
SOURCE, INSTALLED = "source.json", "installed.json"


@dataclass(frozen=True)
class BakedCode:
    """The code in an image: `root` is its folder, all else as its record has it.

    `code_src` is as the launch gave it; of inline code it is "" and `sha256` the digest of the text.
    """

    root: str
    code_src: str
    revision: str
    sha256: str = ""
    default_module: str = "main"

    def serves(self, launch: Launch) -> bool:
        """Tell whether the launch's code is this one; a start that asks for more than the image has is served by none.

        A path of the author's machine serves too: it means what it meant when the image was built.
        """
        if launch.sha256 and self.revision != f"sha256:{launch.sha256}":
            return False
        if not launch.code_src:
            return self.sha256 == _digest(launch)
        wants_git = launch.keep_git and launch.code_src.startswith("git+")
        return self.code_src == launch.code_src and (not wants_git or os.path.exists(os.path.join(self.root, ".git")))


@dataclass(frozen=True)
class BakedPackages:
    """What the interpreter of an image has: `wanted` were the requirements, `requirements` all that serves them.

    `names` are the metadata folders at that time by folder of packages: another layer may have changed them.
    """

    python: str
    wanted: tuple[str, ...]
    requirements: tuple[str, ...]
    names: Mapping[str, str]


def is_built(environ: Mapping[str, str]) -> bool:
    """Tell whether this process runs in a built image."""
    return os.path.isfile(os.path.join(_place(environ), RECORDS, SOURCE))


def find_code(environ: Mapping[str, str]) -> Optional[BakedCode]:
    """Return the code of the image that this process runs in, None when it is in none. Raises PlatformError."""
    document = _read(environ, SOURCE)
    if document is None:
        return None
    root = os.path.join(_place(environ), CODE)
    known = {name: document[name] for name in BakedCode.__dataclass_fields__ if name in document}
    if document.get("api") != API or not {"code_src", "revision"} <= set(known) or not os.path.isdir(root):
        raise PlatformError(
            f"{os.path.join(_place(environ), RECORDS, SOURCE)!r} does not tell which code is in {root!r}, or it is not "
            "there: build the image anew"
        )
    return BakedCode(**{**known, "root": root})


def serving_code(launch: Launch, environ: Mapping[str, str], say: Callable[[str], None]) -> Optional[BakedCode]:
    """Return the image's code when the launch starts from it, else None, having said that the image has some.

    Raises PlatformError, and SourceError for a path of the author's machine that is to be fetched anew.
    """
    found = find_code(environ)
    if found is None:
        return None
    is_same = found.serves(launch)
    if is_same and not launch.refresh_code:
        return found
    revision = found.revision[:19]
    if not is_same:
        say(f"the image has other code, {shown(found.code_src) or 'inline'} at {revision}; this launch's is fetched")
    elif is_local(launch) and not os.path.exists(launch.code_src):
        raise SourceError(
            f"code_src {launch.code_src!r} was a path where the image was built, and there is none here: it cannot be "
            "fetched anew; leave refresh_code out, or build the image anew"
        )
    else:
        say(f"the image has the code at {revision}; it is fetched anew (refresh_code)")
    return None


def find_packages(launch: Launch, environ: Mapping[str, str]) -> Optional[Environment]:
    """Return the image's interpreter when its record says that it has what the launch requires, else None.

    No process is started and nothing is written. Raises PlatformError when the launch's interpreter is not there.
    """
    if not launch.requirements or launch.isolated or launch.refresh:
        return None
    document = _read(environ, INSTALLED)
    try:
        found = BakedPackages(**document) if document else None
    except TypeError:  # of another version
        return None
    if not found or not set(launch.requirements) <= set(found.wanted):
        return None
    is_same = find_interpreter(launch.python, environ) == found.python and _names(found.names) == found.names
    return Environment(found.python, tuple(found.requirements)) if is_same else None


def save_packages(folder: str, base: Interpreter, wanted: Sequence[str], requirements: Sequence[str]) -> None:
    """Leave in the folder what `find_packages` reads; the interpreter is as it was found on PATH. Raises OSError."""
    record = BakedPackages(base.executable, tuple(wanted), tuple(requirements), _names(base.site))
    path = os.path.join(folder, INSTALLED)
    write_json(path, asdict(record))
    os.chmod(path, 0o644)


def _place(environ: Mapping[str, str]) -> str:
    return environ.get("NUWRAP_IMAGE", "") or PLACE


def _read(environ: Mapping[str, str], name: str) -> Optional[dict[str, Any]]:
    path = os.path.join(_place(environ), RECORDS, name)
    try:
        with open(path, encoding="utf-8") as stream:
            document = json.load(stream)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as exc:
        raise PlatformError(f"the image's record {path!r} cannot be read: {exc}; build the image anew") from exc
    return document if isinstance(document, dict) else {}


def _names(folders: Iterable[str]) -> dict[str, str]:
    """Return a digest of the names of metadata folders, which hold the versions, by folder of packages.

    Times are no sign of a change: layers cut them, reproducible builds set them.
    """
    return {folder: hashlib.sha256("\0".join(_metadata(folder)).encode()).hexdigest()[:32] for folder in folders}


def _metadata(folder: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if name.endswith((".dist-info", ".egg-info")))
    except OSError:
        return []


def _digest(launch: Launch) -> str:
    return hashlib.sha256((launch.code or decode_base64(launch.base64)).encode("utf-8")).hexdigest()
