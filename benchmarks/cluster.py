"""A job in a cluster: `function.run("job")` beside `kubectl create job` of the same image, in turn; and many at once.

    python benchmarks/cluster.py [--rounds 7] [--many 20] [--waiting 200] [--namespace NAME] [--write FILE]

Needs a cluster (KUBECONFIG), kubectl, and a registry with nuwrap's own image that the nodes pull from, as `host/team`
in NUWRAP_BENCH_IMAGES. The first line of each pod is dated by its node, whose clock is taken to be this machine's. Ours
counts from the call to the run's result being here; theirs from kubectl's start to the Job's condition Complete.
"""

from __future__ import annotations

import argparse
import os
import platform
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from run import rewrite

import nuwrap as dh
from nuwrap.cluster.client import Cluster, connect
from nuwrap.spec.images import python_image
from nuwrap.store.config import write_config
from nuwrap_runtime import __version__

FIRST_LINE = "the user's first line"
CODE = f"def f():\n    print({FIRST_LINE!r}, flush=True)\n    return 1\n"
LOOK_S = 0.05


@dataclass
class Took:
    """Seconds from the start to the user's first line, and to the end."""

    first: float
    done: float


def main() -> int:
    options = parse_arguments()
    place = os.environ.get("NUWRAP_BENCH_IMAGES", "")
    if not (os.environ.get("KUBECONFIG") and place and shutil.which("kubectl")):
        print("KUBECONFIG, NUWRAP_BENCH_IMAGES and kubectl are needed: see --help", file=sys.stderr)
        return 2
    cluster = connect(os.environ, namespace=options.namespace)
    image = python_image(place, __version__, "3.11")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NUWRAP_HOME"] = f"{folder}/home"
        os.chdir(folder)
        settings = {
            "platform": "kubernetes",
            "kubernetes.namespace": cluster.namespace,
            "images.registry": place,
            "registries.insecure": place.partition("/")[0],
        }
        for name, value in settings.items():
            write_config(os.environ["NUWRAP_HOME"], name, value)
        function = dh.new_function("bench", "f", "python", code=CODE, handler="f", python_version="PYTHON3_11")
        time_ours(cluster, function)  # the image comes to the node
        ours, theirs = [], []
        for _ in range(options.rounds):
            ours.append(time_ours(cluster, function))
            theirs.append(time_theirs(cluster, image))
        at_once = time_many(function, options.many)
        waiting = weigh_waiting(cluster, function, options.waiting)
        table = tell(cluster, options, ours, theirs, at_once, waiting)
    print(table)
    if options.write:
        rewrite(Path(options.write), table, "kubernetes")
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--many", type=int, default=20, help="how many jobs are begun at once")
    parser.add_argument("--waiting", type=int, default=200, help="how many jobs are followed that no node takes")
    parser.add_argument("--namespace", default="default")
    parser.add_argument("--write", type=os.path.abspath, metavar="FILE", help="put the table between its two marks")
    return parser.parse_args()


def time_ours(cluster: Cluster, function: Any) -> Took:
    began = time.time()
    run = function.run("job", log_info=False).wait(300, log_info=False)
    done = time.time()
    assert run.state == "COMPLETED", run.logs()
    (pod,) = cluster.list("Pod", labels={"nuwrap.dev/run": run.id})
    took = Took(first_line(cluster, pod["metadata"]["name"]) - began, done - began)
    cluster.delete("Job", f"nuwrap-{run.id}")
    return took


def time_theirs(cluster: Cluster, image: str) -> Took:
    name = f"bare-{secrets.token_hex(4)}"
    began = time.time()
    code = f"{CODE}f()\n"
    argv = ["kubectl", "-n", cluster.namespace, "create", "job", name, f"--image={image}", "--", "python3", "-c", code]
    subprocess.run(argv, check=True, capture_output=True)
    wait_for(lambda: any(one["type"] == "Complete" for one in conditions(cluster, name)))
    done = time.time()
    (pod,) = cluster.list("Pod", labels={"job-name": name})
    took = Took(first_line(cluster, pod["metadata"]["name"]) - began, done - began)
    cluster.delete("Job", name)
    return took


def conditions(cluster: Cluster, name: str) -> Sequence[dict[str, Any]]:
    job = cluster.get("Job", name) or {}
    return job.get("status", {}).get("conditions") or ()


def first_line(cluster: Cluster, pod: str) -> float:
    """Return when the node got the line, in seconds since 1970."""
    with cluster.log(pod, container="", timestamps=True) as pieces:
        lines = b"".join(pieces).decode().splitlines()
    moment = next(line.partition(" ")[0] for line in lines if FIRST_LINE in line)
    return datetime.fromisoformat(moment[:26].rstrip("Z") + "+00:00").timestamp()


def time_many(function: Any, count: int) -> Sequence[float]:
    """Begin so many jobs; return the seconds to the last's begin and to the last's end, and the bytes of all processes
    of ours at most, each page counted once.
    """
    began = time.time()
    runs = [function.run("job", log_info=False) for _ in range(count)]
    begun, most = time.time() - began, 0.0

    def all_over() -> bool:
        nonlocal most
        most = max(most, memory())
        return all(run.refresh().state in ("COMPLETED", "ERROR") for run in runs)

    wait_for(all_over, 600)
    done = time.time() - began
    assert all(run.state == "COMPLETED" for run in runs)
    return begun, done, most


def weigh_waiting(cluster: Cluster, function: Any, count: int) -> float:
    """Begin so many jobs that no node takes; return the bytes of all processes of ours once each is followed."""
    nowhere = [{"key": "nuwrap.dev/bench", "value": "no-node-has-this"}]
    runs = [function.run("job", log_info=False, node_selector=nowhere) for _ in range(count)]
    wait_for(lambda: all("node" in run.status.message for run in runs), 600)
    weight = memory()
    for run in runs:
        cluster.delete("Job", f"nuwrap-{run.id}")
    return weight


def memory() -> float:
    """Return what this process and the runs' followers have, in bytes (proportional set size)."""
    total, home, own = 0.0, os.environ["NUWRAP_HOME"].encode(), str(os.getpid())
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if path.name != own and home not in (path / "cmdline").read_bytes():
                continue
            found = (path / "smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in found.splitlines() if line.startswith("Pss:")) * 1024
    return total


def wait_for(holds: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it has not come about in time"
        time.sleep(LOOK_S)


def tell(
    cluster: Cluster,
    options: argparse.Namespace,
    ours: Sequence[Took],
    theirs: Sequence[Took],
    many: Sequence[float],
    waiting: float,
) -> str:
    first = [statistics.median(one.first for one in side) for side in (ours, theirs)]
    done = [statistics.median(one.done for one in side) for side in (ours, theirs)]
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    rows = [
        f"Kubernetes {cluster.version()}, one node, {machine}; medians of {options.rounds} rounds in turn.",
        "",
        "| figure | nuwrap | kubectl | over | aim |",
        "|---|---|---|---|---|",
        _row("to the user's first line", *first),
        _row("to the result here, or to Complete", *done),
        f"| {options.many} jobs at once: all begun, all ended | {many[0]:.1f} s, {many[1]:.1f} s | | | |",
        f"| {options.many} jobs at once: memory of our processes | {many[2] / 2**20:.0f} MiB | | | |",
        f"| {options.waiting} jobs followed at once: memory | {waiting / 2**20:.0f} MiB | | | <= 200 MiB |",
    ]
    return "\n".join(rows)


def _row(name: str, ours: float, theirs: float) -> str:
    return f"| {name} | {ours:.2f} s | {theirs:.2f} s | {ours - theirs:+.2f} s | <= 1 s |"


if __name__ == "__main__":
    sys.exit(main())
