"""`make bench-service`: a function as a service, beside functions-framework in the same run. Needs wrk.

    python benchmarks/service.py [--rounds 5] [--seconds 3] [--only TEXT] [--quiet 60] [--write docs/performance.md]

All servers of a case stand while it is measured; each round loads them in turn, one at a time. A ratio is the median
of the ratios within the rounds: machines are noisy, and the noise of one round meets both sides.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from cases import CASES, DEFAULT, FAST, OURS, PEERS, Case
from load import Load, Request, Wrk, find_wrk
from run import ROOT, base_interpreter, clean_environment, resident, rewrite
from servers import FunctionsFramework, Nuwrap, Server, ask, connect, processes_of

from nuwrap_runtime.host import tree

PEER = ROOT / ".venvs" / "bench" / "bin" / "functions-framework"
PEER_ENVIRONS = {FAST: {"WORKERS": "2", "THREADS": "8"}, DEFAULT: {}}
NUWRAP = "nuwrap"
NAMES = (NUWRAP, FAST, DEFAULT)
TIMEOUT_S = 1.0
BUSY = 0.1  # share of the processors that others may take in a quiet moment


@dataclass(frozen=True)
class Loads:
    """What a case gave: by server, one Load a round, and the memory of its processes afterwards, the first's first."""

    case: Case
    rounds: dict[str, list[Load]]
    memory: dict[str, list[float]]

    def ratios(self, peer: str) -> list[float]:
        """Return the ratio of answers in a second within each round."""
        pairs = zip(self.rounds[NUWRAP], self.rounds[peer], strict=True)
        return [ours.per_second / theirs.per_second for ours, theirs in pairs]

    def middle(self, name: str) -> Load:
        loads = self.rounds[name]
        fields = [(load.per_second, load.p50_ms, load.p99_ms) for load in loads]
        return Load(*(statistics.median(one) for one in zip(*fields, strict=True)))

    @property
    def row(self) -> str:
        cells = [self.case.title]
        for name in NAMES:
            load = self.middle(name)
            cells.append(f"{load.per_second:,.0f}/s, {load.p50_ms:.1f} and {load.p99_ms:.1f} ms")
        cells += [self._over(peer) for peer in (FAST, DEFAULT)]
        return "| " + " | ".join(cells) + " |"

    def _over(self, peer: str) -> str:
        ratios, aim = self.ratios(peer), self.case.aims.get(peer)
        middle = statistics.median(ratios)
        verdict = f"; {judge(middle >= aim)}: >= {aim:g}" if aim else ""
        return f"{middle:.2f} ({min(ratios):.2f} to {max(ratios):.2f}{verdict})"


@dataclass(frozen=True)
class Single:
    """One row of what is no load: medians and worst, in `unit`; without values there is nothing to compare with."""

    title: str
    unit: str
    ours: Sequence[float]
    peer: Sequence[float] = ()
    aim: float = 0.0

    @property
    def row(self) -> str:
        aim = f"{judge(statistics.median(self.ours) <= self.aim)}: <= {self.aim:g} {self.unit}" if self.aim else ""
        return f"| {self.title} | {self._cell(self.ours)} | {self._cell(self.peer)} | {aim} |"

    def _cell(self, values: Sequence[float]) -> str:
        if not values:
            return "-"
        worst = f", worst {max(values):,.1f}" if len(values) > 1 else ""
        return f"{statistics.median(values):,.1f} {self.unit}{worst}"


def judge(is_met: bool) -> str:  # noqa: FBT001 - the only value it has
    return "met" if is_met else "**missed**"


def main() -> int:
    options = parse_arguments()
    find_wrk()
    if not PEER.exists():
        sys.exit(f"bench-service: no functions-framework at {PEER}; `make bench-service` installs it")
    with tempfile.TemporaryDirectory(prefix="nuwrap-bench-") as folder:
        bench = Bench(Path(folder), options)
        cases = [case for case in CASES if options.only in case.handler]
        loads = [bench.load(case) for case in cases]
        singles = [*memory(loads), *bench.starts(), *bench.timeouts(), *bench.first_chunk()]
    table = render(options, bench.busy, loads, singles)
    print(table)
    if options.write:
        rewrite(Path(options.write), table, "service")
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="length of each server's load in a round")
    parser.add_argument("--times", type=int, default=10, help="starts and time-outs")
    parser.add_argument("--only", default="", metavar="TEXT", help="only the cases whose handler's name has it")
    parser.add_argument("--quiet", type=float, default=0.0, metavar="SECONDS", help="longest wait for a quiet moment")
    parser.add_argument("--python", default=base_interpreter())
    parser.add_argument("--write", metavar="FILE", help="put the tables between the file's two `service` marks")
    return parser.parse_args()


class Bench:
    """Starts the servers, each in a folder of its own, and measures them one at a time."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        root = Path(tree.ensure_tree(os.environ))
        self.entry = root / "worker" / "nuwrap_runtime" / "host" / "entry.py"
        self.python = clean_environment(options.python, folder / "venv")
        self.folder = folder
        self.options = options
        self.busy: list[float] = []

    def load(self, case: Case) -> Loads:
        """Load all servers of the case in turn; their answers are the same."""
        wrk = Wrk(self._own_folder(), case.request)
        rounds: dict[str, list[Load]] = {name: [] for name in NAMES}
        with ExitStack() as stack:
            servers = {name: stack.enter_context(self.start(name, case.handler)) for name in NAMES}
            same_answers(case, servers)
            for server in servers.values():
                wrk.run(server.address, case.connections, 1)
            for _ in range(self.options.rounds):
                self._wait_quiet()
                for name, server in servers.items():
                    rounds[name].append(wrk.run(server.address, case.connections, self.options.seconds))
            memory = {name: [resident(pid) for pid in processes_of(server.pid)] for name, server in servers.items()}
        loads = Loads(case, rounds, memory)
        print(loads.row, file=sys.stderr, flush=True)
        return loads

    def start(self, name: str, handler: str, **document: object) -> Server:
        folder = self._own_folder()
        if name == NUWRAP:
            return self._nuwrap(handler, **document)
        return FunctionsFramework(folder, PEER, PEERS, handler, PEER_ENVIRONS[name])

    def _nuwrap(self, handler: str, **document: object) -> Nuwrap:
        return Nuwrap(self._own_folder(), self.entry, self.python, {"handler": handler, "code": OURS, **document})

    def starts(self) -> list[Single]:
        """From the start of the process until it is ready, in turn."""
        times: dict[str, list[float]] = {NUWRAP: [], FAST: []}
        self._wait_quiet()
        for _ in range(self.options.times + 1):
            for name, values in times.items():
                with self.start(name, "hello") as server:
                    values.append(server.ready_s * 1000)
        ours, peer = (values[1:] for values in times.values())  # the first one warms the caches
        return [Single("start until ready", "ms", ours, peer)]

    def timeouts(self) -> list[Single]:
        """A call longer than `timeout_s`: until its 504, and from there until the only worker's next answer."""
        answered, back = [], []
        self._wait_quiet()
        with self._nuwrap("slow", timeout_s=TIMEOUT_S, serve={"workers": 1}) as server:
            for _ in range(self.options.times):
                answered.append(timed(lambda: expect(server, Request("/slow"), 504)))
                back.append(timed(lambda: expect(server, Request("/"), 200)))
        return [
            Single(f"a call longer than timeout_s = {TIMEOUT_S:g}: until the 504", "ms", answered, aim=1100),
            Single("from the 504 until the only worker's next answer", "ms", back, aim=100),
        ]

    def first_chunk(self) -> list[Single]:
        """Server-sent events: from the request until the first one is here, while the handler goes on."""
        times: dict[str, list[float]] = {NUWRAP: [], FAST: []}
        with ExitStack() as stack:
            servers = [(stack.enter_context(self.start(name, "events")), values) for name, values in times.items()]
            self._wait_quiet()
            for _ in range(self.options.times + 1):
                for server, values in servers:
                    values.append(first_event(server))
        ours, peer = (values[1:] for values in times.values())
        return [Single("server-sent events: until the first one", "ms", ours, peer)]

    def _own_folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder))

    def _wait_quiet(self) -> None:
        """Wait until others leave the machine alone, at most as long as asked for; note what they took."""
        until = time.monotonic() + self.options.quiet
        busy = processors_busy(0.3)
        while busy > BUSY and time.monotonic() < until:
            busy = processors_busy(1.0)
        self.busy.append(busy)


def same_answers(case: Case, servers: dict[str, Server]) -> None:
    """Raises AssertionError when two servers differ in what they answer, so that nobody's figure is of less work."""
    answers = {name: ask(server.address, case.request) for name, server in servers.items()}
    for name, (status, body) in answers.items():
        assert status == 200, f"{case.title}: {name} answered {status}: {body[:400]!r}"
        ours = answers[NUWRAP][1]
        same = json.loads(ours) == json.loads(body) if "json" in case.request.content_type else ours == body
        assert same, f"{case.title}: {name} answered {body[:80]!r}, nuwrap {ours[:80]!r}"


def memory(loads: Sequence[Loads]) -> list[Single]:
    """Resident memory after load, of the case that left most; pages that forked processes share count in each."""
    if not loads:
        return []
    host = max(one.memory[NUWRAP][0] for one in loads)
    ours = max(sum(one.memory[NUWRAP]) for one in loads)
    peer = max(sum(one.memory[FAST]) for one in loads)
    master = max(one.memory[FAST][0] for one in loads)
    return [
        Single("memory after load: the host, gunicorn's master", "MB", [host], [master], aim=40),
        Single("memory after load: all processes, two workers among them", "MB", [ours], [peer]),
    ]


def expect(server: Server, request: Request, status: int) -> None:
    found, body = ask(server.address, request)
    assert found == status, f"{request.path}: {found} instead of {status}: {body[:400]!r}"


def timed(action: Callable[[], object]) -> float:
    """Return the milliseconds that the action takes."""
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1000


def first_event(server: Server) -> float:
    """Return the milliseconds until the first event; read the rest."""
    connection = connect(server.address)
    began = time.perf_counter()
    connection.request("GET", "/")
    answer = connection.getresponse()
    first = answer.readline()
    took = (time.perf_counter() - began) * 1000
    rest = answer.read()
    connection.close()
    assert (first, rest) == (b"data: one\n", b"\ndata: two\n\n"), (first, rest)
    return took


def processors_busy(seconds: float) -> float:
    """Return the share of all processors' time that was taken while this program waited."""
    before = processor_times()
    time.sleep(seconds)
    spent = [after - earlier for after, earlier in zip(processor_times(), before, strict=True)]
    return 1 - (spent[3] + spent[4]) / (sum(spent) or 1)  # idle, iowait


def processor_times() -> list[int]:
    return [int(field) for field in Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]]


def render(
    options: argparse.Namespace, busy: Sequence[float], loads: Sequence[Loads], singles: Sequence[Single]
) -> str:
    version = subprocess.run([options.python, "-V"], capture_output=True, text=True, check=True).stdout.split()[1]
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    noise = f"other programs took {statistics.median(busy):.0%} of them before each round, at worst {max(busy):.0%}"
    head = (
        f"Python {version}, {machine}; {noise}. Medians of {options.rounds} rounds of {options.seconds} s in turn; "
        f"{options.times} times each for what is no load. {peer_versions()}"
    )
    columns = ["load: answers in a second, p50 and p99", "nuwrap", f"peer {FAST}", f"peer {DEFAULT}"]
    load_rows = header([*columns, f"over {FAST}", f"over {DEFAULT}"]) + [one.row for one in loads]
    rows = header(["median and worst", "nuwrap", f"peer {FAST}", "aim"]) + [single.row for single in singles]
    return "\n".join([head, "", *load_rows, "", *rows])


def header(columns: Sequence[str]) -> list[str]:
    return ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]


def peer_versions() -> str:
    code = "from importlib.metadata import version as v; print(v('functions-framework'), v('gunicorn'), v('flask'))"
    found = subprocess.run([PEER.with_name("python"), "-c", code], capture_output=True, text=True, check=True)
    return "functions-framework {}, gunicorn {}, Flask {}.".format(*found.stdout.split())


if __name__ == "__main__":
    sys.exit(main())
