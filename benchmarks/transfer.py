"""Files from S3 and to it, beside boto3's own transfer of the same files in the same run.

    python benchmarks/transfer.py [--rounds 9] [--megabytes 500] [--write docs/performance.md]

The server is the one at $NUWRAP_S3_ENDPOINT (with AWS_* for who asks; a bucket is made there), else moto's, which is
slow: it answers for both. Each round moves the file by both sides, each in a new process, imports included; the file
lies in memory where /dev/shm is, so that no disk is measured.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from run import ROOT, rewrite
from service import judge

from nuwrap_runtime.host import tree

sys.path.insert(0, str(ROOT / "tests" / "wrapper"))

from s3_server import S3Server

MEGABYTE = 1_000_000
MEMORY = "/dev/shm"  # noqa: S108 - only the parent of a folder with a random name
AIM_RATIO, AIM_MEGABYTES = 0.9, 120.0
PEAK = """
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
import os
print(sum(os.times()[:2]), int(peak) / 1024)
"""
OURS = """
import sys
sys.path += [sys.argv[1] + "/worker", sys.argv[1] + "/host"]
import os
from nuwrap_runtime.host.stores import Access, Progress, open_writable
store = open_writable("s3", Access(Progress("moving", 10**12, "limits.bytes"), dict(os.environ)))
direction, bucket, key, path = sys.argv[2:]
address = f"s3://{bucket}/{key}"
if direction == "up":
    store.upload(path, address)
else:
    (entry,) = store.find(address)
    if direction == "down":
        store.download(entry, path)
"""
PEER = """
import sys
import boto3
client = boto3.client("s3")
direction, bucket, key, path = sys.argv[1:]
if direction == "up":
    client.upload_file(path, bucket, key)
elif direction == "down":
    client.download_file(bucket, key, path)
else:
    client.head_object(Bucket=bucket, Key=key)
"""


@dataclass(frozen=True)
class Moved:
    """One process: seconds from its start to its end, its processor time in seconds, its peak memory in MB."""

    seconds: float
    processor: float
    peak: float


@dataclass(frozen=True)
class Case:
    """What both sides did, round by round; `megabytes` is 0 where only the time counts."""

    title: str
    megabytes: float
    ours: Sequence[Moved]
    peer: Sequence[Moved]

    @property
    def row(self) -> str:
        ratios = [theirs.seconds / ours.seconds for ours, theirs in zip(self.ours, self.peer, strict=True)]
        middle = _median_seconds(self.peer) / _median_seconds(self.ours)
        verdict = f"{judge(middle >= AIM_RATIO)}: >= {AIM_RATIO:g}" if self.megabytes else "-"
        spread = f"{middle:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        return f"| {self.title} | {self._speed(self.ours)} | {self._speed(self.peer)} | {spread} | {verdict} |"

    @property
    def memory_row(self) -> str:
        ours, peer = (max(moved.peak for moved in side) for side in (self.ours, self.peer))
        verdict = f"{judge(ours <= AIM_MEGABYTES)}: <= {AIM_MEGABYTES:g} MB"
        return f"| peak memory: {self.title} | {ours:.1f} MB | {peer:.1f} MB | {peer / ours:.2f} | {verdict} |"

    @property
    def processor_row(self) -> str:
        """What other programs on the machine change least."""
        ours, peer = (statistics.median(moved.processor for moved in side) for side in (self.ours, self.peer))
        return f"| processor time: {self.title} | {ours:.2f} s | {peer:.2f} s | {peer / ours:.2f} | - |"

    def _speed(self, side: Sequence[Moved]) -> str:
        seconds = _median_seconds(side)
        return f"{self.megabytes / seconds:,.0f} MB/s" if self.megabytes else f"{seconds * 1000:,.0f} ms"


class Bench:
    """Moves one file both ways by processes that end."""

    def __init__(self, folder: Path, environ: Mapping[str, str], megabytes: int) -> None:
        self.tree = tree.ensure_tree(os.environ)
        self.environ, self.megabytes, self.bucket = environ, megabytes, f"bench-{uuid4().hex}"
        self.file, self.target = folder / "file", folder / "target"
        block = os.urandom(MEGABYTE)
        with self.file.open("wb") as stream:
            for _ in range(megabytes):
                stream.write(block)
        self._run([sys.executable, "-c", f"import boto3; boto3.client('s3').create_bucket(Bucket={self.bucket!r})"])

    def case(self, direction: str, title: str, rounds: int, *, is_large: bool = True) -> Case:
        """Let both do it, each first in every other round, after a pair of rounds that do not count."""
        sides: dict[str, list[Moved]] = {"ours": [], "peer": []}
        for number in range(rounds + 2):
            for side in ("ours", "peer") if number % 2 else ("peer", "ours"):
                sides[side].append(self._ours(direction) if side == "ours" else self._peer(direction))
        return Case(title, self.megabytes if is_large else 0, sides["ours"][2:], sides["peer"][2:])

    def remove(self) -> None:
        """Remove what the bench has made on the server."""
        lines = [
            "import boto3; client = boto3.client('s3')",
            f"[client.delete_object(Bucket={self.bucket!r}, Key=key) for key in ('ours', 'peer')]",
            f"client.delete_bucket(Bucket={self.bucket!r})",
        ]
        self._run([sys.executable, "-c", "; ".join(lines)])

    def _ours(self, direction: str) -> Moved:
        return self._move([sys.executable, "-I", "-S", "-u", "-c", OURS + PEAK, self.tree], direction, "ours")

    def _peer(self, direction: str) -> Moved:
        return self._move([sys.executable, "-c", PEER + PEAK], direction, "peer")

    def _move(self, command: list[str], direction: str, key: str) -> Moved:
        path = self.file if direction == "up" else self.target
        began = time.perf_counter()
        output = self._run([*command, direction, self.bucket, key, str(path)])
        seconds = time.perf_counter() - began
        if direction == "down":
            assert path.stat().st_size == self.megabytes * MEGABYTE
            path.unlink()
        return Moved(seconds, *map(float, output.split()))

    def _run(self, command: list[str]) -> str:
        environ = {"PATH": os.environ["PATH"], **self.environ}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{command[-5:]} failed:\n{done.stderr[-3000:]}")
        return done.stdout


def main() -> int:
    options = parse_arguments()
    with tempfile.TemporaryDirectory(dir=MEMORY if os.path.isdir(MEMORY) else None) as folder, ExitStack() as stack:
        name, environ = server_environ(stack)
        bench = Bench(Path(folder), environ, options.megabytes)
        stack.callback(bench.remove)
        size = f"{options.megabytes} MB"
        cases = [
            bench.case("up", f"{size} to S3", options.rounds),
            bench.case("down", f"{size} from S3", options.rounds),
            bench.case("find", "one object found, from the process's start", 4 * options.rounds, is_large=False),
        ]
        table = render(cases, name, options.rounds)
    print(table)
    if options.write:
        rewrite(Path(options.write), table, "transfer")
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--write", metavar="FILE", help="put the table between the file's two marks")
    return parser.parse_args()


def server_environ(stack: ExitStack) -> tuple[str, dict[str, str]]:
    """Return the server's name and the variables that reach it."""
    endpoint = os.environ.get("NUWRAP_S3_ENDPOINT", "")
    if endpoint:
        given = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        return "a real server", {"AWS_DEFAULT_REGION": "us-east-1", **given, "AWS_ENDPOINT_URL": endpoint}
    server = stack.enter_context(S3Server())
    environ = server.environ(AWS_ENDPOINT_URL=server.direct_url, AWS_DEFAULT_REGION="us-east-1")
    return "moto's server", environ


def render(cases: Sequence[Case], server: str, rounds: int) -> str:
    versions = subprocess.run(
        [sys.executable, "-c", "import boto3; print(boto3.__version__)"], check=True, capture_output=True, text=True
    )
    machine = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    head = f"{machine}; {server} on loopback. Medians of {rounds} rounds in turn, whole processes."
    rows = [
        f"| median | nuwrap | boto3 {versions.stdout.strip()} | over boto3 | aim |",
        "|---|---|---|---|---|",
        *(case.row for case in cases),
        *(case.processor_row for case in cases),
        *(case.memory_row for case in cases if case.megabytes),
    ]
    return "\n".join([head, "", *rows])


def _median_seconds(side: Sequence[Moved]) -> float:
    return statistics.median(moved.seconds for moved in side)


if __name__ == "__main__":
    sys.exit(main())
