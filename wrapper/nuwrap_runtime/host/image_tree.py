"""`python -m nuwrap_runtime.host.tree FOLDER`: the tree of an image, the same bytes for the same input.

Beside the tree's four parts it has `bin/nuwrap-host`, `bin/uv` where that is asked for, and `licenses/`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import stat
import tempfile
from collections.abc import Sequence

from nuwrap_runtime.errors import PlatformError
from nuwrap_runtime.host.installer import install_locked
from nuwrap_runtime.host.licenses import keep_licenses
from nuwrap_runtime.host.tree import ABIS, PACKAGE, copy_package, install_all, made_whole

# An image's platform as Docker names it -> wheels for its C library, and those of a uv that is linked with none: it
# runs in images with glibc and with musl alike.
PLATFORMS = {
    "linux/amd64": ("x86_64-manylinux_2_17", "x86_64-unknown-linux-musl"),
    "linux/arm64": ("aarch64-manylinux_2_17", "aarch64-unknown-linux-musl"),
}
MACHINES = {"x86_64": "linux/amd64", "amd64": "linux/amd64", "aarch64": "linux/arm64", "arm64": "linux/arm64"}
MOMENT = 315_532_800  # 1980, the earliest that all archives know
LAUNCHER = os.path.join(PACKAGE, "host", "launcher.sh")


def main(argv: Sequence[str]) -> None:
    """Make the tree in a folder that is not there yet; any user may read it. Raises PlatformError."""
    options = _parse(argv)
    folder = os.path.abspath(options.folder)
    if os.path.lexists(folder):
        raise PlatformError(f"{options.folder!r} is there already; name a folder that is not, or remove it")
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    with made_whole(folder) as made:
        copy_package(made)
        install_all(made, os.environ, _wheels(options.platform)[0])
        _add_programs(made, options.uv_lock, options.platform)
        if not options.no_bytecode:
            compile_tree(made, folder)
        settle(made)


def compile_tree(folder: str, place: str) -> None:
    """Compile the tree that will be in `place` for this interpreter; a start does not compare it with its sources.

    An image's files do not change, and their moments say nothing: layers and volumes set them anew.
    """
    import compileall
    from py_compile import PycInvalidationMode

    mode = PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(folder, quiet=2, invalidation_mode=mode, stripdir=folder, prependdir=place)


def settle(folder: str) -> None:
    """Give all that is in the folder the same moment, and the rights of what every uid may read and nobody changes."""
    for where, folders, names in os.walk(folder, topdown=False):
        for name in (*folders, *names):
            path = os.path.join(where, name)
            mode = os.lstat(path).st_mode
            os.chmod(path, 0o755 if stat.S_ISDIR(mode) or mode & stat.S_IXUSR else 0o644)
            os.utime(path, (MOMENT, MOMENT))
    os.chmod(folder, 0o755)  # noqa: S103 - what an image holds is for every uid
    os.utime(folder, (MOMENT, MOMENT))


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m nuwrap_runtime.host.tree", description=__doc__, allow_abbrev=False)
    parser.add_argument("folder", metavar="FOLDER", help="a folder that is not there yet")
    parser.add_argument("--platform", choices=sorted(PLATFORMS), default="", help="the image's, when it is another's")
    parser.add_argument("--uv-lock", metavar="FILE", default="", help="a hashed lock of uv: with it bin/uv is there")
    parser.add_argument("--no-bytecode", action="store_true", help="no .pyc files: for an image of every Python")
    return parser.parse_args(list(argv))


def _wheels(platform: str) -> tuple[str, str]:
    """Return what the host's wheels and uv's are for; "" is this machine's for the first alone."""
    if platform:
        return PLATFORMS[platform]
    machine = os.uname().machine
    if machine not in MACHINES:
        raise PlatformError(f"machine {machine!r} is not known; allowed: --platform {' or '.join(PLATFORMS)}")
    return "", PLATFORMS[MACHINES[machine]][1]


def _add_programs(folder: str, uv_lock: str, platform: str) -> None:
    packages = [os.path.join(folder, name) for name in ("host", "sdk", *(f"abi/cp{one}" for one in _abis()))]
    programs = os.path.join(folder, "bin")
    os.mkdir(programs)
    shutil.copyfile(LAUNCHER, os.path.join(programs, "nuwrap-host"))
    os.chmod(os.path.join(programs, "nuwrap-host"), 0o755)  # noqa: S103 - a program
    with tempfile.TemporaryDirectory() as temporary:
        if uv_lock:
            install_locked(os.path.abspath(uv_lock), temporary, ABIS[0], os.environ, platform=_wheels(platform)[1])
            shutil.move(os.path.join(temporary, "bin", "uv"), programs)
        keep_licenses(os.path.join(folder, "licenses"), [*packages, temporary])


def _abis() -> list[str]:
    return [version.replace(".", "") for version in ABIS]
