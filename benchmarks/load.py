"""One run of wrk against one address. Its Lua hook `done` tells the figures: exact, and no units to read."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

THREADS = 2
MARK = "nuwrap-figures "
SCRIPT = """%s
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format('\\n%s{"requests": %%d, "us": %%d, "p50": %%d, "p99": %%d, "status": %%d, "broken": %%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
"""
POST = """wrk.method = "POST"
wrk.headers["Content-Type"] = "%s"
local file = assert(io.open("%s", "rb"))
wrk.body = file:read("*a")
file:close()"""


@dataclass(frozen=True)
class Request:
    """What is sent again and again: GET without a body, POST with one."""

    path: str = "/"
    content_type: str = ""
    body: Optional[bytes] = None


@dataclass(frozen=True)
class Load:
    """What one run gave: answers in a second, the time of half and of 99 % of them in milliseconds, and how many."""

    per_second: float
    p50_ms: float
    p99_ms: float
    count: int = 0


def find_wrk() -> str:
    """Return wrk's path. Exits the program when it is missing: other clients are slower than the servers."""
    path = shutil.which("wrk")
    if path is None:
        sys.exit(
            "bench-service: NOTHING WAS MEASURED: wrk is not on PATH; install it (apt-get install wrk) and run again"
        )
    return path


class Wrk:
    """wrk with one request; the folder keeps script and body."""

    def __init__(self, folder: Path, request: Request) -> None:
        self.path = request.path
        self.script = folder / "wrk.lua"
        setup = ""
        if request.body is not None:
            (folder / "body").write_bytes(request.body)
            setup = POST % (request.content_type, folder / "body")
        self.script.write_text(SCRIPT % (setup, MARK))

    def run(self, address: str, connections: int, seconds: float) -> Load:
        """Load the address. Raises RuntimeError when an answer is broken or no 2xx: such a run is no figure."""
        count = ["-t", str(min(THREADS, connections)), "-c", str(connections), "-d", f"{max(1, round(seconds))}s"]
        command = [find_wrk(), *count, "--timeout", "10s", "-s", str(self.script), address + self.path]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        figures = json.loads(next(line for line in done.stdout.splitlines() if line.startswith(MARK))[len(MARK) :])
        if figures["status"] or figures["broken"] or not figures["requests"]:
            raise RuntimeError(f"{address}: not every answer was whole and 2xx: {figures}")
        per_second = figures["requests"] / figures["us"] * 1_000_000
        return Load(per_second, figures["p50"] / 1000, figures["p99"] / 1000, figures["requests"])
