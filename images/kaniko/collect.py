"""Make a Python that needs nothing outside of one folder: `collect.py FOLDER`, then `collect.py FOLDER --check`.

Interpreter, standard library, pip, and every shared library that one of them or a package needs, the loader and libc
too, are copied; the loader and the place of the libraries are written into the interpreter. Whatever is unpacked
around the folder afterwards, an older or newer libc or none, the interpreter goes on and can be started again.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

VERSION = f"python{sys.version_info[0]}.{sys.version_info[1]}"
LEFT_OUT = shutil.ignore_patterns(
    "__pycache__", "config-*", "dist-packages", "idlelib", "lib2to3", "setuptools*", "site-packages", "test", "tests",
    "tkinter", "turtledemo", "wheel*",
)  # fmt: skip
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
MODULES = "import ctypes, hashlib, lzma, sqlite3, ssl, zlib, jinja2, pydantic, yaml, nuwrap.engines.kaniko"
NEEDED = re.compile(r"^\s*(\S+)(?: => (/\S+))? \(0x")


def main(folder: Path, *, is_check: bool) -> None:
    """Copy the interpreter into the folder, or see to it that the one there is whole."""
    python = folder / "python"
    if not is_check:
        copy_interpreter(python)
        copy_certificates(folder)
    loader = copy_libraries(folder / "lib", python)
    run("patchelf", "--set-interpreter", str(loader), str(python / "bin" / VERSION))
    for path in (python / "bin" / VERSION, *(python / "lib" / VERSION / "lib-dynload").glob("*.so")):
        look_only_in(folder / "lib", path)
    if is_check:
        run(str(python / "bin" / VERSION), "-I", "-c", MODULES)
        run(str(python / "bin" / VERSION), "-I", "-m", "compileall", "-q", str(python / "lib"))


def copy_interpreter(python: Path) -> None:
    """Copy interpreter, standard library and pip."""
    (python / "bin").mkdir(parents=True)
    shutil.copy(Path(sys.executable).resolve(), python / "bin" / VERSION)
    for name in ("python3", "python"):
        (python / "bin" / name).symlink_to(VERSION)
    library = python / "lib" / VERSION
    shutil.copytree(sysconfig.get_path("stdlib"), library, symlinks=True, ignore=LEFT_OUT)
    (library / "site-packages").mkdir()
    for name in ("home", "tmp"):
        (python.parent / name).mkdir()
    packages = Path(sysconfig.get_path("purelib"))
    for path in packages.glob("pip*"):
        shutil.copytree(path, library / "site-packages" / path.name, ignore=shutil.ignore_patterns("__pycache__"))


def copy_certificates(folder: Path) -> None:
    """Copy the authorities that this image trusts."""
    shutil.copy(CERTIFICATES, folder / "certificates.pem")


def copy_libraries(target: Path, python: Path) -> Path:
    """Copy all shared libraries that are needed and return the loader among them."""
    target.mkdir(exist_ok=True)
    found: dict[str, str] = {}
    for path in [python / "bin" / VERSION, *python.rglob("*.so*")]:
        for line in run("ldd", str(path)).splitlines():
            needed = NEEDED.match(line)
            if needed and (needed[2] or needed[1].startswith("/")):
                found[Path(needed[1]).name] = needed[2] or needed[1]
    for name, place in found.items():
        if not (target / name).exists():
            shutil.copy(Path(place).resolve(), target / name)
            if not name.startswith(("ld-", "libc.")):
                look_only_in(target, target / name)
    return target / next(name for name in found if name.startswith("ld-"))


def look_only_in(libraries: Path, path: Path) -> None:
    """Have the file's libraries looked for here first; a RUNPATH of its own would hide what its user says."""
    run("patchelf", "--force-rpath", "--set-rpath", str(libraries), str(path))


def run(*argv: str) -> str:
    """Run a program and return what it prints; its failure is ours."""
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout


main(Path(sys.argv[1]), is_check="--check" in sys.argv)
