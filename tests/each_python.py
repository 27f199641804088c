"""Run the wrapper's tests on every Python from 3.9 to 3.13 found here, against the built wheel.

    python tests/each_python.py [--all] [3.9 3.11 …] [-- pytest arguments]

The worker's tests (WORKER), which see a user's Python, run on every one; long ones (LONG) on the oldest, the newest and
one between. The host's run on the oldest and the newest, long ones (HOST_LONG) on one of the two; those of HOST_ALONE,
which see no user's Python, on one of all. Which one it is goes by the file's place among its like. With `--all`, or
for Pythons that are named, everything runs. A path among pytest's arguments takes the place of that choice. Says which
Pythons are missing. NUWRAP_TEST_PYTHONS (paths, joined by the path separator) names more interpreters.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13")
ENDS = (VERSIONS[0], VERSIONS[-1])
# The worker, and what is installed for it: code that runs in the user's Python, or is chosen by it.
WORKER = (
    "binding", "convert", "entities", "faulty_calls", "hostile", "interpreter", "job", "kill", "loader",
    "native_worker", "nuclio_*", "outputs", "protocol", "replies", "requirements", "result*", "service_life", "spec",
    "starting", "worker",
)  # fmt: skip
# Of these, those that take longest.
LONG = ("job", "nuclio_launch", "requirements", "service_life", "starting")
# The host, with a user's Python, for more than half a minute.
HOST_LONG = ("containers", "image_tree", "inputs", "install_command", "service_timeout", "termination_log")
# The host by itself: it fetches, keeps and reads, with the standard library alone.
HOST_ALONE = (
    "addresses", "admin_pages", "archive", "cache*", "credentials", "gateway_*", "kept_files", "local_source",
    "metrics", "network", "openapi", "parsers", "paths", "remote_source", "schema", "service_kill", "source_*",
    "store_*", "stored_outputs", "wheels_command",
)  # fmt: skip
UV = Path(sys.executable).with_name("uv")
LOCK = ROOT / "requirements" / "wrapper.txt"


def main(argv: list[str]) -> int:
    wanted, extra = (argv[: argv.index("--")], argv[argv.index("--") + 1 :]) if "--" in argv else (argv, [])
    is_all, wanted = "--all" in wanted, [one for one in wanted if one != "--all"]
    found = find_pythons()
    outcomes: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        wheel = build_wheel(Path(folder))
        for version in wanted or VERSIONS:
            if version not in found:
                outcomes[version] = f"SKIPPED: no Python {version} on this machine"
                continue
            print(f"\n===== wrapper tests on Python {version} ({found[version]})", flush=True)
            chosen = [] if is_all or wanted else choose(version, [one for one in VERSIONS if one in found])
            code = run_tests(version, found[version], wheel, chosen or ["tests/wrapper"], extra)
            part = f", {len(chosen)} of {len(test_files())} files" if chosen else ""
            outcomes[version] = f"passed{part}" if code == 0 else f"FAILED ({code})"
    print("\nwrapper tests by Python:")
    for version, outcome in outcomes.items():
        print(f"  {version:5} {outcome}")
    return 1 if any(outcome.startswith("FAILED") for outcome in outcomes.values()) else 0


def test_files() -> list[str]:
    """Return all of the wrapper's test files, from the checkout."""
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests" / "wrapper").glob("test_*.py"))


def choose(version: str, found: Sequence[str]) -> list[str]:
    """Return the files that run on this one of the Pythons that are here."""
    names = {path: Path(path).stem.removeprefix("test_") for path in test_files()}
    alone = [path for path, name in names.items() if is_among(name, HOST_ALONE)]
    between = [one for one in found if one not in ENDS]
    host_long = [path for path, name in names.items() if is_among(name, HOST_LONG)]
    ends = [one for one in found if one in ENDS]
    long = [path for path, name in names.items() if is_among(name, LONG)] if version in between else []
    dealt = deal(alone, found, version) | deal(long, between, version) | deal(host_long, ends, version)
    rest = {path for path, name in names.items() if version in ENDS or is_among(name, WORKER)}
    return sorted(dealt | rest - set(alone) - set(long) - set(host_long))


def deal(paths: Sequence[str], versions: Sequence[str], version: str) -> set[str]:
    """Return which of the files are this version's when they are dealt out."""
    return {path for number, path in enumerate(paths) if versions[number % len(versions)] == version}


def is_among(name: str, patterns: Sequence[str]) -> bool:
    """Tell whether one of the patterns fits."""
    return any(fnmatch(name, pattern) for pattern in patterns)


def find_pythons() -> dict[str, str]:
    """Return version → interpreter, verified by running it."""
    sys.path.insert(0, str(ROOT / "builder"))
    sys.path.insert(0, str(ROOT / "wrapper"))
    from nuwrap.platforms.interpreters import find_interpreters

    given = [path for path in os.environ.get("NUWRAP_TEST_PYTHONS", "").split(os.pathsep) if path]
    found = {interpreter.version: interpreter.path for interpreter in reversed(find_interpreters(os.environ))}
    for path in given:
        text = subprocess.run([path, "-V"], check=True, capture_output=True, text=True).stdout
        match = re.match(r"Python (3\.\d+)", text)
        if match:
            found[match.group(1)] = path
    return found


def build_wheel(folder: Path) -> Path:
    """Build nuwrap-runtime's wheel: the tests see what users install, not the checkout."""
    command = [str(UV), "build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([*command, "--out-dir", str(folder), str(ROOT / "wrapper")], check=True)
    return next(folder.glob("nuwrap_runtime-*.whl"))


def run_tests(version: str, python: str, wheel: Path, chosen: list[str], extra: list[str]) -> int:
    environment = make_environment(version, python)
    interpreter = str(environment / "bin" / "python")
    install = [str(UV), "pip", "install", "--quiet", "--python", interpreter, "--no-deps", "--reinstall", str(wheel)]
    subprocess.run(install, check=True)
    environ = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    paths = [] if any(os.path.exists(one.partition("::")[0]) for one in extra) else chosen
    command = [interpreter, "-m", "pytest", "-n", "3", "-c", "pyproject.toml", *paths, *extra]
    return subprocess.run(command, cwd=ROOT, env=environ, check=False).returncode


def make_environment(version: str, python: str) -> Path:
    """Make `.venvs/<version>` with what the tests need, once for each lock and interpreter."""
    folder = ROOT / ".venvs" / version
    stamp = folder / "stamp"
    digest = hashlib.sha256(LOCK.read_bytes() + f"seeded {python}".encode()).hexdigest()
    if not stamp.is_file() or stamp.read_text() != digest:
        subprocess.run([str(UV), "venv", "--quiet", "--clear", "--seed", "--python", python, str(folder)], check=True)
        install = [str(UV), "pip", "install", "--quiet", "--python", str(folder / "bin" / "python")]
        subprocess.run([*install, "--no-deps", "--require-hashes", "-r", str(LOCK)], check=True)
        stamp.write_text(digest)
    return folder


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
