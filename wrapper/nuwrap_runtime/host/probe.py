"""Says what an interpreter is and has, as one line of JSON. Runs in the user's Python, knows nothing of ours.

Runs on 3.7 too, so that one that is too old is named.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import sysconfig
from typing import Any

MARK = "nuwrap-probe:"


def describe() -> dict[str, Any]:
    """Return what `interpreter.Interpreter` holds, and the folders whose change makes it untrue."""
    return {
        "executable": sys.executable,
        "prefix": sys.prefix,
        "version": platform.python_version(),
        "implementation": sys.implementation.name,
        "abi": sysconfig.get_config_var("SOABI") or sys.implementation.cache_tag,
        "platform": sysconfig.get_platform(),
        "libc": libc(),
        "folders": [path for path in sys.path if os.path.isdir(path)],
        "site": site_folders(),
        "markers": markers(),
        "distributions": distributions(),
    }


def libc() -> str:
    """Return `glibc 2.36`, `musl`, or an empty text where neither is."""
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError, AttributeError):
        host = sysconfig.get_config_var("HOST_GNU_TYPE") or ""
        return "musl" if "musl" in host else ""


def site_folders() -> list[str]:
    """Return the folders of packages in the order of sys.path; the standard library's own are none."""
    standard = {str(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    standard |= {os.path.join(path, "lib-dynload") for path in standard}
    known = {os.path.realpath(path) for path in standard}
    return [path for path in sys.path if os.path.isdir(path) and os.path.realpath(path) not in known]


def markers() -> dict[str, str]:
    """Return the environment of PEP 508 markers, `extra` apart. Source: packaging/markers.py."""
    info = sys.implementation.version
    full = f"{info.major}.{info.minor}.{info.micro}"
    if info.releaselevel != "final":
        full += info.releaselevel[0] + str(info.serial)
    return {
        "implementation_name": sys.implementation.name,
        "implementation_version": full,
        "os_name": os.name,
        "platform_machine": platform.machine(),
        "platform_release": platform.release(),
        "platform_system": platform.system(),
        "platform_version": platform.version(),
        "python_full_version": platform.python_version(),
        "platform_python_implementation": platform.python_implementation(),
        "python_version": ".".join(platform.python_version_tuple()[:2]),
        "sys_platform": sys.platform,
    }


def distributions() -> dict[str, dict[str, Any]]:
    """Return what is installed by normalised name; the first on sys.path wins, as it does at import."""
    try:
        from importlib import metadata
    except ImportError:  # 3.7: its version is all that is asked
        return {}
    found: dict[str, dict[str, Any]] = {}
    for one in metadata.distributions():
        name = one.metadata["Name"] if one.metadata else None
        if name and one.version:
            key = re.sub(r"[-_.]+", "-", name).lower()
            found.setdefault(key, describe_distribution(one))
    return found


def describe_distribution(one: Any) -> dict[str, Any]:
    """Return version, requirements, the metadata's path, and where it came from when that was no index."""
    return {
        "version": one.version,
        "requires": list(one.requires or ()),
        "path": str(getattr(one, "_path", "")),
        "direct": direct(one.read_text("direct_url.json")),
    }


def direct(text: str | None) -> str:
    """Return the address in a direct_url.json, with the commit where it names one."""
    try:
        origin = json.loads(text or "{}")
        commit = origin.get("vcs_info", {}).get("commit_id", "")
        kind = origin.get("vcs_info", {}).get("vcs", "")
        url = re.sub(r"//[^/@]*@", "//", origin.get("url", ""))
    except (ValueError, AttributeError):
        return ""
    return (kind + "+" if kind else "") + url + ("@" + commit if commit else "")


if __name__ == "__main__":
    # This folder is no place for the user's imports; -I would hide the user's own site-packages, which a worker sees.
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != here]
    print("\n" + MARK + json.dumps(describe()))
