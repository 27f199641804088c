"""Wheels for another machine: resolved by uv for its Python and platform, downloaded here, pinned by their hashes.

uv has no command that downloads. It tells which file it would take, with address and hash, as a lock of PEP 751;
fetching these is what our store for http does. The logins are those of the indexes that uv was given.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from nuwrap_runtime.errors import PlatformError, RequirementsError
from nuwrap_runtime.host.addresses import shown
from nuwrap_runtime.host.children import Job, call_child
from nuwrap_runtime.host.folders import file_digest
from nuwrap_runtime.host.names import clean
from nuwrap_runtime.host.packages import Order, run_installer, write_lines
from nuwrap_runtime.host.report import Report
from nuwrap_runtime.host.stores import Access, Progress, StoreError, open_store, together

UNLIMITED = 2**63
INDEXES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL")
# Written by uv alone, in one form (uv, crates/uv-resolver/src/lock/export/pylock_toml.rs); 3.9 reads no TOML.
_FILE = re.compile(r'(?P<kind>url|path) = "(?P<place>[^"]+)".*?sha256 = "(?P<sha256>[0-9a-f]{64})"')


@dataclass(frozen=True)
class Wheel:
    """A file to be got: `place` is its address (`file://…` too), `name` and `version` are the package's."""

    name: str
    version: str
    place: str
    sha256: str

    @property
    def file(self) -> str:
        """The file's own name, which says what it fits. Raises ValueError for one that is no wheel's."""
        name = clean(unquote(urlsplit(self.place).path.rpartition("/")[2]))
        if "/" in name or not name.endswith(".whl"):
            raise ValueError(f"{name!r} is no wheel")
        return name


def resolve(order: Order, version: str, platform: str) -> list[Wheel]:
    """Return the wheels that serve the order on that Python and platform, as uv names it.

    Raises RequirementsError, for what has no wheel too, and PlatformError without uv.
    """
    if not order.uv:
        raise PlatformError(
            "there is no uv, which resolves for another Python and platform; install it: pip install uv"
        )
    argv = [order.uv, "pip", "compile", "--quiet", "--format", "pylock.toml", "--no-header", "--only-binary", ":all:"]
    argv += ["--python", sys.executable, "--python-version", version, "--python-platform", platform]
    argv += ["-c", write_lines(order, "constraints", order.pins)] if order.pins else []
    done = run_installer(order, [*argv, write_lines(order, "requirements", order.lines)], what="have no wheels")
    found = list(read_lock(done.output.decode("utf-8"), order.work))
    wrong = [one.name for one in found if not one.place]
    if wrong:
        raise RequirementsError(f"{', '.join(wrong)} is no wheel of an index or an address; such a one must be built")
    return found


def read_lock(text: str, folder: str) -> Iterator[Wheel]:
    """Yield the packages of a lock as uv writes it; relative paths count from the folder."""
    for part in text.split("[[packages]]")[1:]:
        name, version = (re.search(rf'^{key} = "([^"]+)"', part, re.MULTILINE) for key in ("name", "version"))
        file = _FILE.search(part)
        place = file["place"] if file else ""
        if file and file["kind"] == "path":
            place = Path(folder, place).as_uri()
        yield Wheel(name[1] if name else "", version[1] if version else "", place, file["sha256"] if file else "")


def download(order: Order, wheels: Sequence[Wheel], into: str, report: Report) -> None:
    """Put the wheels into the folder, each with the hash that it must have. Raises RequirementsError."""
    logins = list(find_logins(order.environ))
    groups: dict[str, list[Wheel]] = {}
    for one in wheels:
        groups.setdefault(login_for(one.place, logins), []).append(one)
    for number, (login, group) in enumerate(groups.items()):
        environ = dict(order.environ)
        if login:
            environ["NETRC"] = write_lines(order, f"netrc-{number}", [login])
        request = {"wheels": [asdict(one) for one in group], "into": into, "seconds": order.left_s}
        job = Job("fetch-wheels", request, order.left_s, "at most", _refuse)
        call_child(job, environ, report)


def _refuse(reason: str) -> RequirementsError:
    return RequirementsError(f"downloading the wheels {reason}")


def child(request: Mapping[str, Any], environ: Mapping[str, str]) -> Mapping[str, Any]:
    """Download in a child process; see `children`."""
    access = Access(
        Progress("downloaded", UNLIMITED, ""),
        environ,
        deadline=time.monotonic() + request["seconds"],
        deadline_key="time",
    )
    together(lambda one: _get(Wheel(**one), request["into"], access), request["wheels"], access.progress)
    return {}


def _get(wheel: Wheel, into: str, access: Access) -> None:
    try:
        target = os.path.join(into, wheel.file)
        url = urlsplit(wheel.place)
        if url.scheme == "file":
            shutil.copyfile(unquote(url.path), target)
        else:
            store = open_store(url.scheme, access)
            store.download(store.find(wheel.place)[0], target)
        digest = file_digest(target)
        if digest != wheel.sha256:
            os.unlink(target)
            raise ValueError(f"its SHA-256 is {digest}, not the index's {wheel.sha256}")
    except (StoreError, ValueError, OSError) as exc:
        raise RequirementsError(f"{wheel.name} {wheel.version} ({shown(wheel.place)}) cannot be had: {exc}") from exc


def find_logins(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each index that needs a login as its address without it, and the login as a line of a netrc file."""
    for name in INDEXES:
        for one in environ.get(name, "").split():
            title, mark, address = one.partition("=") if re.match(r"[\w.-]+=", one) else ("", "", one)
            url = urlsplit(address if mark else one)
            prefix = "UV_INDEX_" + re.sub(r"\W", "_", title).upper() if title else ""
            user = environ.get(f"{prefix}_USERNAME", "") if prefix else ""
            password = environ.get(f"{prefix}_PASSWORD", "") if prefix else ""
            user, password = unquote(url.username or "") or user, unquote(url.password or "") or password
            if user or password:
                bare = url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()
                yield bare, f"machine {url.hostname} login {_word(user)} password {_word(password)}"


def login_for(place: str, logins: Iterable[tuple[str, str]]) -> str:
    """Return the login of the index of the same server that has the most of its address in common, "" when none is."""
    asked = urlsplit(place)
    same = [(url, login) for url, login in logins if urlsplit(url)[:2] == asked[:2]]
    return max(same, key=lambda one: len(os.path.commonpath([one[0], place])))[1] if same else ""


def _word(text: str) -> str:
    """Return the text as `netrc` reads it: from 3.11 on with escapes, before without any."""
    return re.sub(r'([\\"\s])', r"\\\1", text) if sys.version_info >= (3, 11) else text
