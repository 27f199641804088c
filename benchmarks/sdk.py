"""What the toolkit adds: its import, its help, and a job from a script over the same job of the bare host.

    python benchmarks/sdk.py [--rounds 30] [--write docs/performance.md]

Rounds are interleaved (nuwrap, peer, nuwrap, …), medians are reported: machines are noisy.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from run import HELLO, Figure, base_interpreter, clean_environment, interleave, render, rewrite, timed

import nuwrap

USE = "import nuwrap; nuwrap.Function"


def main() -> int:
    options = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NUWRAP_HOME"] = os.path.join(folder, "home")
        os.chdir(folder)
        python = clean_environment(base_interpreter(), Path(folder) / "venv")
        figures = [*starts(options.rounds), sdk_job(options.rounds, python, Path(folder))]
    table = render(figures, options)
    print(table)
    if options.write:
        rewrite(Path(options.write), table, "sdk")
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--write", type=os.path.abspath, metavar="FILE", help="put the table between its two marks")
    parser.set_defaults(python=sys.executable)
    return parser.parse_args()


def starts(rounds: int) -> list[Figure]:
    """Whole processes, against one that does nothing."""
    commands = {
        ("`import nuwrap`", "<= +150 ms"): [sys.executable, "-c", "import nuwrap"],
        ("`import nuwrap` and its models", ""): [sys.executable, "-c", USE],
        ("`nuwrap --help`", "<= 250 ms in all"): [str(Path(sys.executable).with_name("nuwrap")), "--help"],
    }
    bare = [sys.executable, "-c", "pass"]
    return [
        Figure(name, "ms", *interleave(rounds, lambda one=command: timed(one), lambda: timed(bare)), aim)
        for (name, aim), command in commands.items()
    ]


def sdk_job(rounds: int, python: str, folder: Path) -> Figure:
    """`function.run("job", local_execution=True)` in a process that is there, against a whole process of the host."""
    version = "PYTHON{}_{}".format(*sys.version_info)
    project = nuwrap.get_or_create_project("bench")
    function = project.new_function("hello", "python", code=HELLO, handler="handler", python_version=version)
    launch = folder / "launch.json"
    document = {"api": "nuwrap/v1", "handler": "handler", "code": HELLO, "run": "bench", "python": python}
    launch.write_text(json.dumps({**document, "output_path": str(folder / "out")}))
    host = [sys.executable, "-m", "nuwrap_runtime.host", "job", "--launch", str(launch)]

    def run() -> float:
        began = time.perf_counter()
        done = function.run("job", local_execution=True, python=python)
        taken = time.perf_counter() - began
        assert done.results() == {"output_0": "hello"}, done.logs()
        return taken

    ours, peer = interleave(rounds, run, lambda: timed(host))
    return Figure("a job from a script, over the bare host's", "ms", ours, peer, "<= +150 ms")


if __name__ == "__main__":
    sys.exit(main())
