"""`nuwrap-host install`: put requirements into the interpreter on PATH itself, and lock them: a step of a build."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Optional

from nuwrap_runtime.errors import LaunchError, PlatformError
from nuwrap_runtime.host import base_packages, credentials, image
from nuwrap_runtime.host.arguments import read_network
from nuwrap_runtime.host.index import with_mounted
from nuwrap_runtime.host.interpreter import Interpreter, find_interpreter, probe
from nuwrap_runtime.host.network import settled
from nuwrap_runtime.host.packages import Order, bind, open_order
from nuwrap_runtime.host.report import Report, counted
from nuwrap_runtime.host.requirements import (
    check_installed,
    check_pins,
    check_requirements,
    find_clashes,
    lock_lines,
    unsatisfied,
)
from nuwrap_runtime.launch import Launch, Limits, Network

SECONDS = 6 * 3600.0  # a build has a time-out of its own
CLASHES_TOLD = 20


@dataclass(frozen=True)
class Wish:
    """What is asked for: checked lines, and where packages are looked for."""

    lines: tuple[str, ...]
    pins: tuple[str, ...]
    options: tuple[str, ...]
    network: Network


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Install, write the lock and print what was done as one JSON line.

    Raises RequirementsError for lines that are none, that do not resolve or are not honoured, PlatformError when there
    is no interpreter, no installer, or a file cannot be written.
    """
    options = _parse(argv)
    environ = with_mounted(environ, credentials.secrets_folder(environ))
    report = Report(secrets=credentials.secret_values(environ, (), ""))
    report.phase = "requirements"
    network = read_network(environ)
    wish = Wish(read_lines(options.requirements), read_lines(options.constraints), _offers(options), network)
    check_requirements(wish.lines)
    check_requirements(wish.pins)
    base = probe(find_interpreter("python3", environ), "", environ)
    with report.timed("requirements") as detail:
        locked, made = _install(wish, base, environ, report)
        detail.append(f"{counted(len(locked), 'package')} installed into {base.executable}")
    lines = lock_lines(check_requirements(wish.lines), made)
    try:
        _write_lock(options.lock, base, locked, lines)
        image.save_packages(os.path.dirname(os.path.abspath(options.lock)), made, wish.lines, lines)
    except OSError as exc:
        raise PlatformError(f"the lock cannot be written to {options.lock!r}: {exc.strerror}") from exc
    installed = [line.partition(base_packages.HASHED)[0] for line in locked]
    print(json.dumps({"python": base.executable, "version": base.version, "installed": installed, "all": list(lines)}))
    return 0


def read_lines(path: Optional[str]) -> tuple[str, ...]:
    """Return the file's lines but for empty ones and comments; none without a path. Raises LaunchError."""
    if not path:
        return ()
    try:
        with open(path, encoding="utf-8") as stream:
            found = stream.read().split("\n")
    except (OSError, ValueError) as exc:
        raise LaunchError(f"cannot read the requirements {path!r}: {exc}") from exc
    return tuple(line.strip(" \t\r") for line in found if line.strip() and not line.lstrip().startswith("#"))


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="nuwrap-host install", description=__doc__, allow_abbrev=False)
    parser.add_argument("--requirements", required=True, metavar="FILE", help="one PEP 508 requirement a line")
    parser.add_argument("--lock", required=True, metavar="FILE", help="gets what was installed, with hashes")
    parser.add_argument("--constraints", metavar="FILE", help="PEP 508 lines that hold for whatever is installed")
    parser.add_argument("--find-links", metavar="FOLDER", help="a folder with wheels")
    parser.add_argument("--no-index", action="store_true", help="ask no index: all is in --find-links")
    return parser.parse_args(list(argv))


def _offers(options: argparse.Namespace) -> tuple[str, ...]:
    links = ["--find-links", os.path.abspath(options.find_links)] if options.find_links else []
    if links and not os.path.isdir(links[1]):
        raise LaunchError(f"--find-links {options.find_links!r} is no folder; name one with wheels")
    return (*links, *(["--no-index"] if options.no_index else []))


def _install(
    wish: Wish, base: Interpreter, environ: Mapping[str, str], report: Report
) -> tuple[list[str], Interpreter]:
    """Return the lock of what was installed, and the interpreter as it is after that; all of the wish is honoured."""
    requirements, pins = check_requirements(wish.lines), check_requirements(wish.pins)
    if not unsatisfied(requirements, base):
        return [], base
    launch = Launch(handler="", requirements=wish.lines, limits=replace(Limits(), seconds=SECONDS))
    with tempfile.TemporaryDirectory(prefix="nuwrap-install-") as work, settled(wish.network, {}) as network:
        launch = replace(launch, network=network)
        # Nothing is left in a layer: downloads go too, unless the build has a cache of its own (UV_CACHE_DIR).
        own = {**environ, "XDG_CACHE_HOME": os.path.join(work, "cache")}
        with open_order(launch, base, own, cache=work, work=os.path.join(work, "work"), say=report.note) as order:
            locked = base_packages.install_into_base(_bound(order, wish))
            made = probe(base.executable, "", order.environ)
            check_installed(requirements, made)
            check_pins(pins, base, made)
            new = [one for name, one in made.distributions.items() if one != base.distributions.get(name)]
            base_packages.compile_files(order, new)
    for clash in list(find_clashes(base, made))[:CLASHES_TOLD]:
        report.warn(clash)
    return locked, made


def _bound(order: Order, wish: Wish) -> Order:
    return replace(bind(order, wish.pins), options=wish.options, can_isolate=False)


def _write_lock(path: str, base: Interpreter, locked: Sequence[str], lines: Sequence[str]) -> None:
    """Write the lock: what was installed, and as comments what the interpreter had before. Raises OSError."""
    mine = {base_packages.name_of(line) for line in locked}
    head = [f"# Installed into {base.executable} (Python {base.version})"]
    head += [f"# {line}  (there before)" for line in lines if base_packages.name_of(line) not in mine]
    body = [line.replace(base_packages.HASHED, f" \\\n   {base_packages.HASHED}") for line in locked]
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, "w", encoding="utf-8") as stream:
        stream.writelines(line + "\n" for line in (*head, *body))
