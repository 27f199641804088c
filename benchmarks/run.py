"""`make bench`: what a start costs, each figure beside the bare interpreter's in the same run.

    python benchmarks/run.py [--rounds 30] [--python PATH] [--write docs/performance.md]

Rounds are interleaved (nuwrap, peer, nuwrap, …), medians of the differences are reported: machines are noisy.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "wrapper"))

from second_start import AIM, S3Server, SecondStart  # noqa: E402 - it looks for the tests' servers

from nuwrap_runtime.host import tree  # noqa: E402 - found by the line above
from nuwrap_runtime.worker.spec import WorkerSpec  # noqa: E402

HELLO = "def handler():\n    return 'hello'\n"
WAIT = """import os, time
def handler(path):
    open(path, 'w').close()
    while os.path.exists(path):
        time.sleep(0.01)
"""
STOCK = "import asyncio, argparse, json, msgpack, nuclio_sdk"


@dataclass(frozen=True)
class Figure:
    """One row: what, nuwrap's value, the peer's, the difference, and what we aim at; in `unit`."""

    name: str
    unit: str
    ours: float
    peer: float
    aim: str

    @property
    def row(self) -> str:
        peer = f"{self.peer:.1f} {self.unit}" if self.peer else "-"
        over = f"{self.ours - self.peer:+.1f} {self.unit}" if self.peer else "-"
        return f"| {self.name} | {self.ours:.1f} {self.unit} | {peer} | {over} | {self.aim} |"


def main() -> int:
    options = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        root = tree.ensure_tree(os.environ)
        bench = Bench(Path(root), options.python, Path(folder))
        figures = [
            bench.worker_ready(options.rounds),
            bench.hello_job(options.rounds),
            *bench.second_starts(options.rounds),
            bench.worker_memory(),
            bench.host_memory(),
            bench.stock_start(options.rounds),
        ]
        if options.demo:
            figures.append(bench.demo())
    table = render(figures, options)
    print(table)
    if options.write:
        rewrite(Path(options.write), table, "figures")
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--python", default=base_interpreter())
    parser.add_argument("--demo", action="store_true", help="also `make demo` in a fresh clone with empty caches")
    parser.add_argument("--write", metavar="FILE", help="put the table between the file's two marks")
    return parser.parse_args()


def base_interpreter() -> str:
    """Return the interpreter behind this environment, not a shim that starts it."""
    base = getattr(sys, "_base_executable", sys.executable)
    command = [base, "-c", "import sys; print(sys.executable)"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def clean_environment(python: str, folder: Path) -> str:
    """Make an empty virtual environment: what a machine's own site-packages do at a start is nobody's figure."""
    subprocess.run([python, "-m", "venv", "--without-pip", str(folder)], check=True)
    return str(folder / "bin" / "python")


class Bench:
    """Starts the real things: workers on real sockets, whole job processes, bare interpreters."""

    def __init__(self, root: Path, python: str, folder: Path) -> None:
        self.main = root / "worker" / "nuwrap_runtime" / "worker" / "main.py"
        self.entry = root / "worker" / "nuwrap_runtime" / "host" / "entry.py"
        self.python = clean_environment(python, folder / "venv")
        self.folder = folder
        (folder / "code").mkdir()
        (folder / "code" / "main.py").write_text(HELLO)

    def worker_ready(self, rounds: int) -> Figure:
        """Spawn to the `s` line, against spawn to the end of `python -c pass`."""
        ours, bare = interleave(rounds, self._start_worker, lambda: timed([self.python, "-u", "-c", "pass"]))
        return Figure("worker ready", "ms", ours, bare, "<= +45 ms")

    def hello_job(self, rounds: int) -> Figure:
        """A whole inline job as `python -m nuwrap_runtime.host job`, against the same function as a plain script."""
        launch = self.folder / "launch.json"
        document = {"api": "nuwrap/v1", "handler": "handler", "code": HELLO, "run": "bench", "python": self.python}
        launch.write_text(json.dumps({**document, "output_path": str(self.folder / "out")}))
        command = [sys.executable, "-m", "nuwrap_runtime.host", "job", "--launch", str(launch)]
        script = [self.python, "-c", HELLO + "print(handler())"]
        ours, bare = interleave(rounds, lambda: timed(command), lambda: timed(script))
        return Figure("inline `hello` job, warm, whole process", "ms", ours, bare, "<= 200 ms in all")

    def second_starts(self, rounds: int) -> list[Figure]:
        """Whole jobs of code that is kept, against the same code inline."""
        with S3Server() as s3:
            found = SecondStart(self.entry, self.python, self.folder / "second", s3).measure(rounds)
        aim = f"<= +{AIM:g} ms over inline"
        return [Figure(f"`hello` from {name}, kept, over the inline one", "ms", *both, aim) for name, *both in found]

    def worker_memory(self) -> Figure:
        """Resident memory of a started worker, against an interpreter that waits."""
        with self._worker() as worker:
            ours = resident(worker.pid)
        bare = subprocess.Popen([self.python, "-u", "-c", "import sys; print(); sys.stdin.read()"], **PIPES)
        bare.stdout.readline()
        peer = resident(bare.pid)
        bare.communicate()
        return Figure("worker memory", "MB", ours, peer, "<= +12 MB")

    def host_memory(self) -> Figure:
        """Peak resident memory of the job host while the function runs, against an interpreter that waits."""
        marker = self.folder / "running"
        document = {"api": "nuwrap/v1", "handler": "handler", "code": WAIT, "run": "bench-wait", "python": self.python}
        document |= {"parameters": {"path": str(marker)}, "output_path": str(self.folder / "out-wait")}
        launch = self.folder / "wait.json"
        launch.write_text(json.dumps(document))
        host = subprocess.Popen(
            [sys.executable, "-I", "-S", "-u", str(self.entry), "job", "--launch", str(launch)], **QUIET
        )
        while not marker.exists():
            time.sleep(0.01)
        peak = resident(host.pid, "VmHWM")
        marker.unlink()
        host.wait()
        bare = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", "print(flush=True); import sys; sys.stdin.read()"], **PIPES
        )
        bare.stdout.readline()
        peer = resident(bare.pid, "VmHWM")
        bare.communicate()
        return Figure("job host, peak", "MB", peak, peer, "<= 30 MB in all")

    def stock_start(self, rounds: int) -> Figure:
        """What the stock Nuclio wrapper imports before its first line, against the bare interpreter."""
        stock, bare = interleave(
            rounds,
            lambda: timed([sys.executable, "-u", "-c", STOCK]),
            lambda: timed([sys.executable, "-u", "-c", "pass"]),
        )
        return Figure("for comparison: the stock Nuclio wrapper's imports", "ms", stock, bare, "")

    def demo(self) -> Figure:
        """The whole of `make demo` in a fresh clone: set-up, downloads, the job."""
        clone, home = self.folder / "clone", self.folder / "home"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        home.mkdir()
        hidden = ("UV_CACHE_DIR", "PIP_CACHE_DIR", "XDG_CACHE_HOME", "NUWRAP_CACHE", "VIRTUAL_ENV")
        environ = {name: value for name, value in os.environ.items() if name not in hidden}
        began = time.perf_counter()
        subprocess.run(["make", "demo"], cwd=clone, env={**environ, "HOME": str(home)}, check=True, **QUIET)
        return Figure("`make demo`, fresh clone, empty caches", "s", time.perf_counter() - began, 0.0, "<= 60 s")

    def _start_worker(self) -> float:
        began = time.perf_counter()
        with self._worker():
            return time.perf_counter() - began

    def _worker(self) -> RunningWorker:
        spec = WorkerSpec(root=str(self.folder / "code"), handler="handler", pythonpath="")
        return RunningWorker([self.python, "-u", str(self.main)], spec)


class RunningWorker:
    """A started worker; leaving the block ends it."""

    def __init__(self, command: list[str], spec: WorkerSpec) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="nw-"))
        path = self.folder / "e"
        (self.folder / "spec.json").write_text(spec.dump())
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        self.process = subprocess.Popen(
            [*command, "--event-socket-path", str(path), "--worker-spec", str(self.folder / "spec.json")]
        )
        self.peer = listener.accept()[0]
        listener.close()
        received = b""
        while not received.startswith(b"s") and b"\ns" not in received:
            received += self.peer.recv(65536)
        self.pid = self.process.pid

    def __enter__(self) -> RunningWorker:  # noqa: PYI034 - nothing derives from it
        return self

    def __exit__(self, *_: object) -> None:
        self.peer.close()
        self.process.wait()
        shutil.rmtree(self.folder)


PIPES: dict[str, object] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
QUIET: dict[str, object] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def timed(command: list[str]) -> float:
    """Run the command to its end; return seconds."""
    began = time.perf_counter()
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "wrapper")} if "nuwrap_runtime.host" in command else None
    subprocess.run(command, check=True, env=environ, **QUIET)
    return time.perf_counter() - began


def interleave(rounds: int, ours: Callable[[], float], peer: Callable[[], float]) -> tuple[float, float]:
    """Return the medians of both in milliseconds, one warm-up each, taken in turn."""
    ours(), peer()
    pairs = [(ours(), peer()) for _ in range(rounds)]
    return statistics.median(a for a, _ in pairs) * 1000, statistics.median(b for _, b in pairs) * 1000


def resident(pid: int, field: str = "VmRSS") -> float:
    """Return the field of /proc/PID/status in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def render(figures: list[Figure], options: argparse.Namespace) -> str:
    version = subprocess.run([options.python, "-V"], capture_output=True, text=True, check=True).stdout.split()[1]
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    head = f"Python {version}, {machine}, medians of {options.rounds} rounds in turn."
    rows = [
        "| figure | nuwrap | bare | over bare | aim |",
        "|---|---|---|---|---|",
        *(figure.row for figure in figures),
    ]
    return "\n".join([head, "", *rows])


def rewrite(path: Path, table: str, section: str) -> None:
    """Put the table between the file's marks `<!-- section -->` and `<!-- /section -->`."""
    begin, end = f"<!-- {section} -->", f"<!-- /{section} -->"
    text = path.read_text(encoding="utf-8")
    before, rest = text.split(begin, 1)
    after = rest.split(end, 1)[1]
    path.write_text(f"{before}{begin}\n{table}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
