"""A function's image in DigitalHub's layer order and in ours, one after the other with the same engine.

    python benchmarks/build.py [--rounds 3] [--requirements pandas,scikit-learn] [--write docs/performance.md]

Needs Docker, a registry (NUWRAP_TEST_REGISTRY), a repository of Python images (NUWRAP_TEST_PYTHON_IMAGE) and nuwrap's
own images (`make build-images`). Theirs is the Dockerfile that DigitalHub core writes (code before instructions and
requirements; core, PythonBuildRunner.java) without its own packages, on the same base; build and push are counted.
Ours is the command `nuwrap build --push`, all of it. Every round begins with code that no cache has seen.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from run import rewrite

from nuwrap.registry.images import read_image
from nuwrap.spec.build import RegistryAccess

NUWRAP = str(Path(sys.executable).with_name("nuwrap"))
PYTHON = "3.11"
USER = "8877:999"
FIRST_LINE = "the user's first line"
CODE = f"""
print({FIRST_LINE!r}, flush=True)


def f():
    return "{{mark}}"
"""
THEIRS = """\
FROM {base}
USER root
COPY . /shared
WORKDIR /shared
RUN python3 -m pip install --no-cache-dir -r /shared/requirements.txt
USER 8877
ENTRYPOINT ["python3", "-c", "import main; main.f()"]
"""


@dataclass
class Side:
    """One way to build. `build` returns the pushed image's reference; `folder` has the function."""

    name: str
    folder: Path
    build: Callable[[Side], str]
    image: str = ""

    def write(self, mark: str, requirements: Sequence[str]) -> None:
        """Write code that nobody has seen, and the requirements."""
        (self.folder / "main.py").write_text(CODE.format(mark=mark))
        (self.folder / "requirements.txt").write_text("".join(f"{one}\n" for one in requirements))


class Bench:
    """Both sides in a folder, pushing to the same registry under names of their own."""

    def __init__(self, folder: Path, requirements: Sequence[str]) -> None:
        self.registry = f"{os.environ['NUWRAP_TEST_REGISTRY']}/bench-{secrets.token_hex(4)}"
        self.base = f"{os.environ['NUWRAP_TEST_PYTHON_IMAGE']}:{PYTHON}-slim"
        self.requirements = list(requirements)
        self.environ = {**os.environ, "NUWRAP_HOME": str(folder / "home"), "DOCKER_BUILDKIT": "1"}
        self.sides = [
            Side("nuwrap", folder / "ours", self.build_ours),
            Side("theirs", folder / "theirs", self.build_theirs),
        ]
        for side in self.sides:
            side.folder.mkdir()
        self.call(NUWRAP, "config", "set", "build.registry", self.registry)

    def call(self, *argv: str, folder: Path | None = None) -> str:
        """Return what a program prints; its failure ends the benchmark with all that it said."""
        done = subprocess.run(
            list(argv),
            cwd=folder,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            sys.exit(f"{argv}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def build_ours(self, side: Side) -> str:
        lines = (side.folder / "requirements.txt").read_text().split()
        text = {"name": "f", "kind": "python", "python_version": "PYTHON3_11", "code_src": "main.py", "handler": "f",
                "project": "bench", "base_image": self.base, "requirements": lines}  # fmt: skip
        (side.folder / "function.yaml").write_text(json.dumps(text))
        result = json.loads(self.call(NUWRAP, "build", str(side.folder), "--push", "--json", folder=side.folder))
        return str(result["results"]["image"])

    def build_theirs(self, side: Side) -> str:
        (side.folder / "Dockerfile").write_text(THEIRS.format(base=self.base))
        reference = f"{self.registry}/theirs:latest"
        self.call("docker", "build", "-q", "-t", reference, ".", folder=side.folder)
        self.call("docker", "push", "-q", reference)
        return reference

    def time(self, mark: str, requirements: Sequence[str]) -> dict[str, float]:
        """Return each side's seconds for a build of that code with those requirements."""
        found = {}
        for side in self.sides:
            side.write(mark, requirements)
            began = time.perf_counter()
            side.image = side.build(side)
            found[side.name] = time.perf_counter() - began
        return found

    def layers(self, side: Side) -> Mapping[str, int]:
        """Return the bytes of the side's image in the registry, by layer."""
        facts = read_image(side.image, RegistryAccess(), self.environ, has_files=False)
        return {one.digest: one.bytes for one in facts.layers}

    def start(self, *argv: str) -> float:
        """Return the milliseconds from `docker run` to the first line that the user's code prints."""
        began = time.perf_counter()
        with subprocess.Popen(
            ["docker", "run", "--rm", "--user", USER, *argv],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout
            for line in process.stdout:
                if FIRST_LINE in line:
                    took = (time.perf_counter() - began) * 1000
                    process.communicate()
                    return took
        sys.exit(f"{argv}: the function printed nothing")


def main() -> int:
    options = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        table = measure(Bench(Path(folder), options.requirements.split(",")), options.rounds)
    print(table)
    if options.write:
        rewrite(Path(options.write), table, "build")
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requirements", default="pandas,scikit-learn", metavar="A,B")
    parser.add_argument("--write", type=os.path.abspath, metavar="FILE", help="put the table between its two marks")
    return parser.parse_args()


def measure(bench: Bench, rounds: int) -> str:
    """Return the table."""
    seconds: dict[str, list[dict[str, float]]] = {"cold": [], "edit": [], "requirement": [], "nothing": []}
    pushed: dict[str, list[int]] = {side.name: [] for side in bench.sides}
    for number in range(rounds):
        mark = secrets.token_hex(8)
        # A requirement that changes nothing but the list makes the layers of both new: cold, but for the base.
        first = [*bench.requirements, f"packaging!=0.{number}.{int(mark[:4], 16)}"]
        seconds["cold"].append(bench.time(mark, first))
        before = [bench.layers(side) for side in bench.sides]
        seconds["edit"].append(bench.time(f"{mark} edited", first))
        for side, old in zip(bench.sides, before):
            new = bench.layers(side)
            pushed[side.name].append(sum(count for digest, count in new.items() if digest not in old))
        seconds["requirement"].append(bench.time(f"{mark} edited", [*first, "humanize"]))
        seconds["nothing"].append(bench.time(f"{mark} edited", [*first, "humanize"]))
    starts = [_starts(bench) for _ in range(max(rounds, 5))]
    names = {
        "cold": ("cold: new requirements, new code", ""),
        "edit": ("after an edit of the code", ">= 10 times faster"),
        "requirement": ("after one more requirement", ""),
        "nothing": ("nothing has changed", "<= 1 s"),
    }
    rows = [_row(*names[name], found) for name, found in seconds.items()]
    ours, theirs = (statistics.median(pushed[side.name]) for side in bench.sides)
    rows.append(
        f"| bytes of new layers after an edit | {ours:,.0f} | {theirs:,.0f} | {theirs / ours:,.0f} | <= 64 KiB + code |"
    )
    one, bare = (statistics.median(side) for side in zip(*starts))
    rows.append(f"| container start to the user's first line | {one:.0f} ms | {bare:.0f} ms | {one / bare:.2f} | |")
    return "\n".join(
        [_head(bench, rounds), "", "| figure | nuwrap | theirs | ratio | aim |", "|---|---|---|---|---|", *rows]
    )


def _starts(bench: Bench) -> tuple[float, float]:
    ours, _theirs = bench.sides
    bare = ["--entrypoint", "python3", ours.image, "-c", "import main"]
    return bench.start(ours.image), bench.start(*bare)


def _row(name: str, aim: str, found: Sequence[Mapping[str, float]]) -> str:
    ours, theirs = (statistics.median(one[side] for one in found) for side in ("nuwrap", "theirs"))
    return f"| {name} | {ours:.2f} s | {theirs:.2f} s | {theirs / ours:.1f} | {aim} |"


def _head(bench: Bench, rounds: int) -> str:
    version = subprocess.run(
        ["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True, check=True
    ).stdout.strip()
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return f"Docker {version}, {machine}, {', '.join(bench.requirements)}; medians of {rounds} rounds in turn."


if __name__ == "__main__":
    sys.exit(main())
