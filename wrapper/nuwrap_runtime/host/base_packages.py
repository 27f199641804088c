"""Put requirements into an interpreter itself, as an image's build does: what is new is locked, then installed.

What the interpreter has is kept as for a start (see `packages`); here the lock has hashes, and the files are compiled,
since nobody can do that later in an image whose files are read-only.
"""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import unquote, urlsplit

from nuwrap_runtime.errors import PlatformError
from nuwrap_runtime.host.folders import file_digest
from nuwrap_runtime.host.interpreter import Distribution
from nuwrap_runtime.host.packages import (
    Order,
    make_view,
    pip_arguments,
    resolve_by_uv,
    run_installer,
    summarize,
    write_lines,
)
from nuwrap_runtime.host.process import Command, Completed, run

OLDEST_PIP = (22, 2)  # the first with --report
HASHED = " --hash="
COMPILING = os.path.join(os.path.dirname(os.path.abspath(__file__)), "compiling.py")
_LOCKING = ("--generate-hashes", "--no-header", "--no-annotate", "--no-deps")


def install_into_base(order: Order) -> list[str]:
    """Install what the base lacks into the base itself and return the lock, one line a package, hashes in it.

    A line has no hash where none is known: of a commit, or of a page of links without any. Raises RequirementsError,
    and PlatformError when there is neither uv nor a pip that tells hashes.
    """
    order = replace(order, environ={**order.environ, **_settings(order)})
    return _by_uv(order) if order.uv else _by_pip(order)


def _settings(order: Order) -> dict[str, str]:
    """Return variables for an interpreter that belongs to a system (PEP 668), as root, in a layer of an image."""
    own = order.environ.get("UV_CACHE_DIR", "").startswith(os.path.dirname(order.work) + os.sep)
    return {
        "PIP_BREAK_SYSTEM_PACKAGES": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
        **({"UV_LINK_MODE": "hardlink"} if own else {}),  # a cache that goes in a moment: nothing is written twice
    }


def _by_uv(order: Order) -> list[str]:
    pins = resolve_by_uv(order, make_view(order, ""))
    if not pins:
        return []
    lock = [_hashed(order, line) for line in _locked_by_uv(order, pins)]
    order.say(f"installing {summarize(order, pins)}")
    argv = [order.uv, "pip", "install", "--python", order.base.executable, "--break-system-packages", "--no-deps"]
    argv += [f"--reinstall-package={name}" for name in sorted(order.direct)]
    argv += ["--require-hashes"] if all(HASHED in line for line in lock) else []
    run_installer(order, [*argv, "-r", write_lines(order, "lock", lock)])
    return lock


def _locked_by_uv(order: Order, pins: Sequence[str]) -> list[str]:
    argv = [order.uv, "pip", "compile", "--quiet", "--python", order.base.executable, *_LOCKING]
    done = run_installer(order, [*argv, write_lines(order, "pins", pins)], what="cannot be locked")
    return _joined(done.output.decode("utf-8"))


def _joined(text: str) -> list[str]:
    """Return the lines of a lock, each with its hashes."""
    whole = re.sub(r"\s*\\\n\s*", " ", text)
    return [line.strip() for line in whole.splitlines() if line.strip() and not line.startswith("#")]


def _hashed(order: Order, line: str) -> str:
    """Return the line with the hashes of the files in local folders of links: uv tells none of these."""
    name, _, version = line.partition("==")
    if HASHED in line or not version:
        return line
    digests = sorted({file_digest(path) for path in _files_of(_folders(order), name, version)})
    return line + "".join(f"{HASHED}sha256:{digest}" for digest in digests)


def _folders(order: Order) -> Iterator[str]:
    options = iter(order.options)
    given = [next(options, "") for option in options if option == "--find-links"]
    for one in [*given, *re.split(r"[,\s]+", order.environ.get("UV_FIND_LINKS", ""))]:
        path = one.removeprefix("file://")
        if path and "://" not in path:
            yield path


def _files_of(folders: Iterable[str], name: str, version: str) -> Iterator[str]:
    """Yield wheels and source archives of that package and version."""
    wanted = f"{_plain(name)}-{version}"
    for folder in folders:
        for path in glob.glob(os.path.join(glob.escape(folder), "*")):
            file = os.path.basename(path)
            stem = "-".join(file.split("-")[:2]) if file.endswith(".whl") else re.sub(r"\.(tar\.gz|zip)$", "", file)
            given, _, given_version = stem.rpartition("-")
            if f"{_plain(given)}-{given_version}" == wanted and os.path.isfile(path):
                yield path


def name_of(line: str) -> str:
    """Return the normalised name of the package that a line of a lock is of."""
    return _plain(re.split(r"[=@ \[]", line, maxsplit=1)[0])


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _by_pip(order: Order) -> list[str]:
    _check_pip(order)
    reports = []
    for number, arguments in enumerate(pip_arguments(order)):
        reports.append(os.path.join(order.work, f"report-{number}.json"))
        argv = [order.base.executable, "-m", "pip", "install", "--no-warn-script-location", "--no-compile"]
        run_installer(order, [*argv, "--report", reports[-1], *arguments])
    return sorted(line for path in reports for line in _reported(path))


def _check_pip(order: Order) -> None:
    found = order.base.distributions.get("pip")
    if found is None:
        raise PlatformError(
            f"there is no uv, and python {order.base.executable!r} has no pip: take a base image with one of them, or "
            "nuwrap's runtime with uv"
        )
    if tuple(int(part) for part in re.findall(r"\d+", found.version)[:2]) < OLDEST_PIP:
        oldest = ".".join(map(str, OLDEST_PIP))
        raise PlatformError(f"pip {found.version} tells no hashes, and there is no uv; allowed: pip {oldest} and later")


def _reported(path: str) -> Iterator[str]:
    """Yield what pip has installed, as lines of a lock. Source: pip, docs/html/reference/installation-report.md."""
    with open(path, encoding="utf-8") as stream:
        installed: list[Mapping[str, Any]] = json.load(stream)["install"]
    for one in installed:
        origin = one["download_info"]
        line = f"{_plain(one['metadata']['name'])}=={one['metadata']['version']}"
        if one["is_direct"]:
            commit = origin.get("vcs_info", {})
            line = line.partition("==")[0] + " @ " + (f"{commit['vcs']}+" if commit else "") + origin["url"]
            line += f"@{commit['commit_id']}" if commit else ""
        digest = _digest(origin)
        yield line + (f"{HASHED}sha256:{digest}" if digest else "")


def _digest(origin: Mapping[str, Any]) -> str:
    """Return the archive's SHA-256; pip before 23.1 tells one in an older form, and none of a local file."""
    told = origin.get("archive_info", {})
    old = str(told.get("hash", "")).partition("sha256=")[2]
    path = unquote(urlsplit(origin["url"]).path) if origin["url"].startswith("file:") else ""
    found = told.get("hashes", {}).get("sha256", "") or old
    return found or (file_digest(path) if os.path.isfile(path) else "")


def compile_files(order: Order, distributions: Iterable[Distribution]) -> None:
    """Compile these packages' files, but for their tests: a start on a read-only root cannot keep what it compiles."""
    places = sorted({place for one in distributions for place in _places(one)})
    if places:
        compile_places(order.base.executable, places, order.environ, seconds=order.left_s)


def compile_places(python: str, places: Sequence[str], environ: Mapping[str, str], *, seconds: float) -> Completed:
    """Run `compiling` on folders and modules, in that interpreter; equal files make equal bytes."""
    given = {name: value for name, value in environ.items() if not name.startswith("PYTHON")}
    given["PYTHONHASHSEED"] = "0"  # the order of a set that is written down
    return run(Command([python, "-s", "-S", COMPILING, *places], given, timeout_s=seconds))


def _places(one: Distribution) -> Iterator[str]:
    """Yield the folders and modules of a package, as its RECORD has them."""
    site = os.path.dirname(one.path)
    try:
        with open(os.path.join(one.path, "RECORD"), encoding="utf-8") as stream:
            names = {line.partition(",")[0].strip('"').partition("/")[0] for line in stream if ".py," in line}
    except OSError:
        return
    for name in names:
        path = os.path.join(site, name)
        if name not in ("", os.pardir) and os.path.exists(path):
            yield path
