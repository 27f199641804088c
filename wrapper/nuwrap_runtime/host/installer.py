"""Install a hashed lock into a plain folder, for the host's own tree: by uv, else by pip."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from nuwrap_runtime.errors import PlatformError
from nuwrap_runtime.host.cache import cache_folder
from nuwrap_runtime.host.credentials import without_fetching
from nuwrap_runtime.host.index import download_caches
from nuwrap_runtime.host.process import Command, run
from nuwrap_runtime.host.uv import find_uv

SECONDS = 600.0


def install_locked(lock: str, target: str, version: str, environ: Mapping[str, str], *, platform: str = "") -> None:
    """Install what the lock names, wheels for that Python version alone, hashes checked. Raises PlatformError.

    `platform` is another machine's as uv names it (`aarch64-unknown-linux-gnu`), "" this one's; pip cannot serve then.
    """
    uv = find_uv(environ)
    if platform and not uv:
        raise PlatformError(f"packages for {platform!r} need uv, and there is none; install it: pip install uv")
    common = ["--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:", "--target", target]
    common += ["--python-version", version, "-r", lock]
    if uv:
        common += ["--python-platform", platform] if platform else []
        # No hard links into uv's cache: the loader takes files of one inode for one library, so a user's own copy of
        # the same msgpack would get our module, its exceptions and types with it.
        argv = [uv, "pip", "install", "--link-mode", "copy", "--python", sys.executable, *common]
    else:
        argv = [sys.executable, "-I", "-m", "pip", "install", "--implementation", "cp", *common]
    env = {**without_fetching(environ), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    env.update(download_caches(environ, env, cache_folder(environ)))
    os.makedirs(target, exist_ok=True)
    done = run(Command(argv, env, cwd=target, timeout_s=SECONDS))  # where we stand, a `pyproject.toml` may configure uv
    if done.returncode == 1 and not uv and any("No module named pip" in line for line in done.log):
        raise PlatformError(f"neither uv nor pip is there to set up the host's packages for {sys.executable!r}")
    if done.returncode:
        reason = "\n".join(done.log[-8:]) or f"exit code {done.returncode}"
        raise PlatformError(f"cannot set up the host's packages from {os.path.basename(lock)}:\n{reason}")
