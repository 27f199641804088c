"""`make bench-nuclio`: a function under Nuclio's processor, our worker beside Nuclio's own wrapper in the same run.

    python benchmarks/nuclio.py [--rounds 5] [--seconds 3] [--only TEXT] [--quiet 60] [--write docs/performance.md]

Needs wrk, a processor (NUWRAP_PROCESSOR, else `processor` on PATH) and Nuclio's wrapper (NUWRAP_STOCK_WRAPPER, the file
_nuclio_wrapper.py); says so and ends where one is missing. Both processors of a case stand while it is measured; each
round loads them in turn. A ratio is the median of the ratios within the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from cases import MB, ten_kilobytes
from load import Load, Request, Wrk
from processors import Python, UnderProcessor, find_processor, stock_versions
from run import ROOT, resident, rewrite
from servers import Nuwrap, Server, ask
from service import BUSY, header, judge, processors_busy

sys.path.insert(0, str(ROOT / "builder"))

from nuwrap.errors import PlatformError
from nuwrap.platforms.interpreters import SUPPORTED, find_interpreter
from nuwrap_runtime.host import tree

VERSIONS = ("3.11", "3.9")
WORKERS = (1, 2)
OURS, STOCK, SERVE = "nuwrap", "stock", "nuwrap-host serve"
CPU_AIM, P99_AIM, START_AIM, MEMORY_AIM = 1 / 3, 1.0, 0.75, 0.7
CODE = """
def hello(context, event):
    return "hello"

def document(context, event):
    return event.body

def echo(context, event):
    return context.Response(body=event.body, content_type="application/octet-stream")
"""


@dataclass(frozen=True)
class Case:
    """One handler under load. `aim`: the least ratio of answers in a second, `serve_aim` that of our own host."""

    title: str
    handler: str
    request: Request
    aim: float
    connections: int = 16
    has_orjson: bool = False
    cpu_aim: float = 0.0
    serve_aim: float = 0.0


_JSON = Request("/", "application/json", ten_kilobytes())
_BODY = Request("/", "application/octet-stream", bytes(range(256)) * (MB // 256))
CASES = (
    Case("hello", "hello", Request(), 1.9, cpu_aim=CPU_AIM, serve_aim=1.5),
    Case("JSON 10 KB, parsed and returned", "document", _JSON, 1.8),
    Case("the same, with orjson there", "document", _JSON, 3.0, has_orjson=True),
    Case("1 MB echo", "echo", _BODY, 5.0, connections=4, serve_aim=8.0),
)


@dataclass(frozen=True)
class Round:
    """One load of one server; `cpu_us` is what its Python workers took for an answer, 0 where nobody looked."""

    load: Load
    cpu_us: float = 0.0


@dataclass(frozen=True)
class Loads:
    """What a case gave on one Python with so many workers: by server, one Round each time, ours first."""

    case: Case
    place: str
    rounds: Mapping[str, Sequence[Round]]
    aim: float

    @property
    def row(self) -> str:
        ours, stock = self.rounds.values()
        cells = [f"{self.case.title}; {self.place}", *(_middle(one) for one in (ours, stock))]
        cells.append(_over([(a.load.per_second, b.load.per_second) for a, b in _pairs(ours, stock)], self.aim))
        cells.append(_over([(a.load.p99_ms, b.load.p99_ms) for a, b in _pairs(ours, stock)], P99_AIM, is_most=True))
        if all(one.cpu_us for one in ours):
            aim = self.case.cpu_aim
            times = " and ".join(f"{statistics.median(one.cpu_us for one in side):,.0f}" for side in (ours, stock))
            ratio = _over([(a.cpu_us, b.cpu_us) for a, b in _pairs(ours, stock)], aim, is_most=True)
            cells.append(f"{times} us, {ratio}")
        return _row(cells)


@dataclass(frozen=True)
class Single:
    """What is no load: ours and stock's in turn, in `unit`; `aim` is the most that ours may be of theirs."""

    title: str
    unit: str
    ours: Sequence[float]
    stock: Sequence[float]
    aim: float

    @property
    def row(self) -> str:
        sides = [f"{statistics.median(one):,.1f} {self.unit}" for one in (self.ours, self.stock)]
        pairs = list(zip(self.ours, self.stock, strict=True))
        return _row([self.title, *sides, _over(pairs, self.aim, is_most=True)])


def _pairs(ours: Sequence[Round], stock: Sequence[Round]) -> list[tuple[Round, Round]]:
    return list(zip(ours, stock, strict=True))


def _middle(rounds: Sequence[Round]) -> str:
    fields = [(one.load.per_second, one.load.p50_ms, one.load.p99_ms) for one in rounds]
    per_second, p50, p99 = (statistics.median(one) for one in zip(*fields, strict=True))
    return f"{per_second:,.0f}/s, {p50:.1f} and {p99:.1f} ms"


def _over(pairs: Sequence[tuple[float, float]], aim: float, *, is_most: bool = False) -> str:
    """Return the median of the ratios, the least and the most of them, and whether the median is as wanted."""
    ratios = [ours / theirs for ours, theirs in pairs]
    middle = statistics.median(ratios)
    is_met = middle <= aim if is_most else middle >= aim
    verdict = f"; {judge(is_met)}: {'<=' if is_most else '>='} {aim:.2g}" if aim else ""
    return f"{middle:.2f} ({min(ratios):.2f} to {max(ratios):.2f}{verdict})"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def main() -> int:
    options = parse_arguments()
    processor, version = find_processor()
    stock = os.environ.get("NUWRAP_STOCK_WRAPPER", "")
    missing = find_missing(processor, stock)
    if missing:
        print(f"bench-nuclio: NOTHING WAS MEASURED: {missing}", file=sys.stderr)
        return 0
    if not version:
        text = "the processor tells no version; set NUWRAP_NUCLIO_VERSION, or our worker talks to it as to the oldest"
        print(f"bench-nuclio: {text}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="nuwrap-bench-") as folder:
        bench = Bench(Path(folder), options, processor, stock, version)
        table = bench.measure()
    print(table)
    if options.write:
        rewrite(Path(options.write), table, "nuclio")
    return 0


def find_missing(processor: str, stock: str) -> str:
    """Return what there is not and how to name it, "" when all is there."""
    if not shutil.which("wrk"):
        return "wrk is not on PATH; install it (apt-get install wrk)"
    if not processor:
        return "there is no Nuclio processor; name one by NUWRAP_PROCESSOR"
    if not os.path.isfile(stock):
        return f"NUWRAP_STOCK_WRAPPER={stock!r} is no file; name Nuclio's own wrapper, _nuclio_wrapper.py"
    return ""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="length of each load in a round")
    parser.add_argument("--times", type=int, default=10, help="starts")
    parser.add_argument("--only", default="", metavar="TEXT", help="only the cases whose title has it, and no starts")
    parser.add_argument("--python", action="append", choices=SUPPORTED, help=f"{' and '.join(VERSIONS)} by default")
    parser.add_argument("--quiet", type=float, default=0.0, metavar="SECONDS", help="longest wait for a quiet moment")
    parser.add_argument("--write", metavar="FILE", help="put the tables between the file's two `nuclio` marks")
    return parser.parse_args()


class Bench:
    """Starts the processors, each in a folder of its own, and measures them one at a time."""

    def __init__(self, folder: Path, options: argparse.Namespace, processor: str, stock: str, version: str) -> None:
        root = Path(tree.ensure_tree(os.environ))
        worker = root / "worker" / "nuwrap_runtime"
        self.entry = worker / "host" / "entry.py"
        self.wrappers = {OURS: str(worker / "worker" / "nuclio_wrapper.py"), STOCK: stock}
        self.environs = {OURS: {"NUWRAP_NUCLIO_VERSION": version} if version else {}, STOCK: {}}
        self.processor, self.version = processor, version
        self.folder, self.options = folder, options
        self.cases = [case for case in CASES if options.only in case.title]
        self.busy: list[float] = []
        self.pythons = {version: self._environments(version) for version in options.python or VERSIONS}

    def measure(self) -> str:
        """Measure all and return the tables."""
        loads, served, singles = [], [], []
        known = [version for version, pythons in self.pythons.items() if pythons]
        for version in known:
            loads += [self._under_processor(case, version, count) for case in self.cases for count in WORKERS]
            if not self.options.only:
                singles += [self._starts(version), self._memory(version)]
        for version in known[:1]:
            served = [self._beside_serve(case, version) for case in self.cases if case.serve_aim]
        return self._render(loads, served, singles)

    def _environments(self, version: str) -> dict[bool, str]:
        """Return interpreters by whether they have orjson; none when that Python is not on this machine."""
        try:
            found = find_interpreter(version, os.environ)
        except PlatformError as exc:
            print(f"bench-nuclio: NOT MEASURED with Python {version}: {exc}", file=sys.stderr)
            return {}
        return {has: Python(found.path, self._own_folder() / "venv", has_orjson=has).path for has in (False, True)}

    def _start(self, name: str, python: str, handler: str, workers: int) -> UnderProcessor:
        wrapper, environ = self.wrappers[name], self.environs[name]
        place = (self._own_folder(), self.processor, wrapper, python, CODE, handler)
        return UnderProcessor(*place, workers=workers, environ=environ)

    def _under_processor(self, case: Case, version: str, workers: int) -> Loads:
        python = self.pythons[version][case.has_orjson]
        sides = {name: self._starter(name, python, case.handler, workers) for name in (OURS, STOCK)}
        return self._load(case, f"Python {version}, {_counted(workers)}", sides, case.aim)

    def _beside_serve(self, case: Case, version: str) -> Loads:
        python = self.pythons[version][case.has_orjson]
        document = {"handler": case.handler, "code": CODE, "serve": {"workers": 2}}
        sides: dict[str, Callable[[], Server]] = {
            SERVE: lambda: Nuwrap(self._own_folder(), self.entry, python, document),
            STOCK: self._starter(STOCK, python, case.handler, 2),
        }
        return self._load(case, f"Python {version}, {_counted(2)}", sides, case.serve_aim)

    def _starter(self, name: str, python: str, handler: str, workers: int) -> Callable[[], UnderProcessor]:
        return lambda: self._start(name, python, handler, workers)

    def _load(self, case: Case, place: str, sides: Mapping[str, Callable[[], Server]], aim: float) -> Loads:
        """Load both in turn; their answers are the same."""
        wrk = Wrk(self._own_folder(), case.request)
        rounds: dict[str, list[Round]] = {name: [] for name in sides}
        with ExitStack() as stack:
            servers = {name: stack.enter_context(start()) for name, start in sides.items()}
            _check_same(case, servers)
            for server in servers.values():
                wrk.run(server.address, case.connections, 1)
            for _ in range(self.options.rounds):
                self._wait_quiet()
                for name, server in servers.items():
                    rounds[name].append(_measure(wrk, server, case.connections, self.options.seconds))
        loads = Loads(case, place, rounds, aim)
        print(loads.row, file=sys.stderr, flush=True)
        return loads

    def _starts(self, version: str) -> Single:
        """From the processor's start to its first 200."""
        times: dict[str, list[float]] = {OURS: [], STOCK: []}
        self._wait_quiet()
        for _ in range(self.options.times + 1):
            for name, values in times.items():
                with self._start(name, self.pythons[version][False], "hello", 1) as server:
                    values.append(server.ready_s * 1000)
        ours, stock = (values[1:] for values in times.values())  # the first one warms the caches
        return Single(f"processor's start until the first 200; Python {version}", "ms", ours, stock, START_AIM)

    def _memory(self, version: str) -> Single:
        """Resident memory of a worker that has answered once."""
        ours, stock = (self._idle(name, version) for name in (OURS, STOCK))
        return Single(f"memory of an idle worker; Python {version}", "MB", ours, stock, MEMORY_AIM)

    def _idle(self, name: str, version: str) -> list[float]:
        server = self._start(name, self.pythons[version][False], "hello", 1)
        with server:
            return [resident(pid) for pid in server.workers]

    def _own_folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder))

    def _wait_quiet(self) -> None:
        """Wait until others leave the machine alone, at most as long as asked for; note what they took."""
        until = time.monotonic() + self.options.quiet
        busy = processors_busy(0.3)
        while busy > BUSY and time.monotonic() < until:
            busy = processors_busy(1.0)
        self.busy.append(busy)

    def _render(self, loads: Sequence[Loads], served: Sequence[Loads], singles: Sequence[Single]) -> str:
        machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
        busy = self.busy or [0.0]
        noise = f"other programs took {statistics.median(busy):.0%} of them before each round, at worst {max(busy):.0%}"
        told = f"the processor is {self.version}" if self.version else "the processor told no version"
        head = (
            f"{machine}; {noise}. Medians of {self.options.rounds} rounds of {self.options.seconds} s in turn, and of "
            f"{self.options.times} starts; {told}, its own wrapper has {stock_versions()}."
        )
        columns = ["", "nuwrap", "stock", "over stock", "p99, of stock's"]
        parts = [[head]]
        if loads:
            more = "Python's processor time for an answer"
            parts.append([*header(["load: answers in a second, p50 and p99", *columns[1:], more]), *_rows(loads)])
        if served:
            parts.append([*header(["load", SERVE, "the processor, stock", *columns[3:]]), *_rows(served)])
        if singles:
            parts.append([*header(["median", "nuwrap", "stock", "of stock's"]), *_rows(singles)])
        return "\n\n".join("\n".join(lines) for lines in parts)


def _rows(some: Sequence[Loads] | Sequence[Single]) -> list[str]:
    return [one.row for one in some]


def _measure(wrk: Wrk, server: Server, connections: int, seconds: int) -> Round:
    before = server.worker_us if isinstance(server, UnderProcessor) else 0.0
    load = wrk.run(server.address, connections, seconds)
    spent = server.worker_us - before if isinstance(server, UnderProcessor) else 0.0
    return Round(load, spent / load.count)


def _check_same(case: Case, servers: Mapping[str, Server]) -> None:
    """Raises AssertionError when two servers differ in what they answer, so that nobody's figure is of less work."""
    answers = {name: ask(server.address, case.request) for name, server in servers.items()}
    (first, body), *_ = answers.values()
    for name, (status, other) in answers.items():
        assert status == first == 200, f"{case.title}: {name} answered {status}: {other[:400]!r}"
        same = json.loads(other) == json.loads(body) if "json" in case.request.content_type else other == body
        assert same, f"{case.title}: {name} answered {other[:80]!r}, another {body[:80]!r}"


def _counted(workers: int) -> str:
    return f"{workers} worker{'s' if workers > 1 else ''}"


if __name__ == "__main__":
    sys.exit(main())
