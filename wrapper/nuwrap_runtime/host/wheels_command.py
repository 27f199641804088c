"""`nuwrap-host wheels`: download wheels for an image before its build, so that no engine gets an index's login."""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace

from nuwrap_runtime.errors import LaunchError, PlatformError
from nuwrap_runtime.host import credentials, wheels
from nuwrap_runtime.host.arguments import read_network
from nuwrap_runtime.host.install_command import SECONDS, read_lines
from nuwrap_runtime.host.interpreter import find_interpreter, probe
from nuwrap_runtime.host.network import settled
from nuwrap_runtime.host.packages import bind, open_order
from nuwrap_runtime.host.report import Report, counted
from nuwrap_runtime.host.requirements import check_requirements
from nuwrap_runtime.launch import Launch, Limits

# As Docker names a platform, and what uv calls it: glibc of Debian 10 and RHEL 8, which later ones have too.
PLATFORMS: Mapping[str, str] = {"linux/amd64": "x86_64-manylinux_2_28", "linux/arm64": "aarch64-manylinux_2_28"}
_PLATFORM = r"(x86_64|aarch64)-(manylinux_2_\d\d|unknown-linux-musl)"
_VERSION = r"3\.\d{1,2}(\.\d{1,2})?"


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Fill the folder, write the lock, and print what is there as one JSON line.

    Raises RequirementsError for what does not resolve, has no wheel or cannot be downloaded, PlatformError without uv.
    """
    options = _parse(argv)
    report = Report(secrets=credentials.secret_values(environ, (), ""))
    report.phase = "wheels"
    lines, pins = read_lines(options.requirements), read_lines(options.constraints)
    check_requirements(lines)
    check_requirements(pins)
    base = probe(find_interpreter("python3", environ), "", environ)
    platform = PLATFORMS.get(options.platform, options.platform)
    launch = Launch(handler="", requirements=lines, isolated=True, limits=replace(Limits(), seconds=SECONDS))
    folder, network = tempfile.TemporaryDirectory(prefix="nuwrap-wheels-"), settled(read_network(environ), {})
    with folder as work, network as reached, report.timed("wheels") as detail:
        launch = replace(launch, network=reached)
        with open_order(launch, base, environ, cache=work, work=os.path.join(work, "work"), say=report.note) as opened:
            told = replace(base, version=options.python, executable=options.platform)  # of whom messages speak
            order = replace(bind(opened, pins), base=told, can_isolate=False)
            found = wheels.resolve(order, options.python, platform)
            _make_folder(options.into)
            wheels.download(order, found, options.into, report)
        detail.append(f"{counted(len(found), 'wheel')} for Python {options.python} on {options.platform}")
    if options.lock:
        _write_lock(options.lock, found)
    told_of = [{"name": one.name, "version": one.version, "file": one.file, "sha256": one.sha256} for one in found]
    print(json.dumps({"folder": os.path.abspath(options.into), "wheels": told_of}))
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="nuwrap-host wheels", description=__doc__, allow_abbrev=False)
    parser.add_argument("--requirements", required=True, metavar="FILE", help="one PEP 508 requirement a line")
    parser.add_argument("--into", required=True, metavar="FOLDER", help="gets the wheels; is made when it is not there")
    parser.add_argument("--python", required=True, metavar="VERSION", help="the image's Python, as 3.11")
    parser.add_argument("--platform", required=True, metavar="PLATFORM", help=f"the image's: {', '.join(PLATFORMS)}")
    parser.add_argument("--constraints", metavar="FILE", help="PEP 508 lines that hold for whatever is downloaded")
    parser.add_argument("--lock", metavar="FILE", help="gets the wheels' names and hashes")
    options = parser.parse_args(list(argv))
    if not re.fullmatch(_VERSION, options.python):
        raise LaunchError(f"--python {options.python!r} is no version of Python; allowed: as 3.11 or 3.11.9")
    if options.platform not in PLATFORMS and not re.fullmatch(_PLATFORM, options.platform):
        known = ", ".join(PLATFORMS)
        raise LaunchError(
            f"--platform {options.platform!r} is not known; allowed: {known}, or as x86_64-manylinux_2_31"
        )
    return options


def _make_folder(folder: str) -> None:
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as exc:
        raise PlatformError(f"cannot make the folder of wheels {folder!r}: {exc.strerror}") from exc


def _write_lock(path: str, found: Sequence[wheels.Wheel]) -> None:
    try:
        with open(path, "w", encoding="utf-8") as stream:
            stream.writelines(f"{one.name}=={one.version} \\\n    --hash=sha256:{one.sha256}\n" for one in found)
    except OSError as exc:
        raise PlatformError(f"the lock cannot be written to {path!r}: {exc.strerror}") from exc
