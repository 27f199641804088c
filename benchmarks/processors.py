"""Nuclio's processor with one of two wrappers under it, nuwrap's and Nuclio's own, and the Pythons of their users."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from load import Request
from run import ROOT
from servers import START_S, Server, ask, free_port

LOCK = ROOT / "requirements" / "nuclio.txt"
BODY_BYTES = 16 * 1024 * 1024
TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")


class Python:
    """A virtual environment with what Nuclio's own wrapper imports, with or without orjson."""

    def __init__(self, interpreter: str, folder: Path, *, has_orjson: bool = False) -> None:
        uv = str(ROOT / ".venv" / "bin" / "uv")
        self.path = str(folder / "bin" / "python")
        of_it = ["--quiet", "--python", self.path]
        subprocess.run([uv, "venv", "--quiet", "--python", interpreter, str(folder)], check=True)
        subprocess.run([uv, "pip", "install", *of_it, "--require-hashes", "-r", str(LOCK)], check=True)
        if not has_orjson:
            subprocess.run([uv, "pip", "uninstall", *of_it, "orjson"], check=True)


class UnderProcessor(Server):
    """A processor whose workers have started. It is killed at the end: its own takes five seconds."""

    def __init__(
        self,
        folder: Path,
        processor: str,
        wrapper: str,
        python: str,
        code: str,
        handler: str,
        *,
        workers: int,
        environ: Mapping[str, str],
    ) -> None:
        self.name = f"the processor with {wrapper}"
        self._address = f"127.0.0.1:{free_port()}"
        (folder / "main.py").write_text(code)
        config = _write(folder / "processor.json", _config(handler, self._address, workers))
        platform = _write(folder / "platform.json", _platform(f"127.0.0.1:{free_port()}"))
        named = {"NUCLIO_PYTHON_WRAPPER_PATH": wrapper, "NUCLIO_PYTHON_EXE_PATH": python, "PYTHONPATH": ""}
        command = [processor, "--config", config, "--platform-config", platform]
        super().__init__(folder, command, {**named, "NUCLIO_PYTHON_PATH": str(folder), **environ})

    def _is_ready(self) -> bool:
        address = f"http://{self._address}"
        with suppress(ConnectionError):
            if ask(address, Request())[0] == 200:
                self.address = address
        return bool(self.address)

    def stop(self) -> None:
        sockets = _sockets_of(self.pid) if self.process.poll() is None else []
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()
        for path in sockets:
            with suppress(FileNotFoundError):
                os.unlink(path)

    @property
    def workers(self) -> list[int]:
        """The workers' processes. Any thread of a Go program may have started them."""
        threads = Path(f"/proc/{self.pid}/task").iterdir()
        return [int(pid) for thread in threads for pid in (thread / "children").read_text().split()]

    @property
    def worker_us(self) -> float:
        """Processor time that the workers have taken until now, in microseconds."""
        return sum(_ticks(pid) for pid in self.workers) * TICK_US


def find_processor() -> tuple[str, str]:
    """Return the processor's path, "" for none, and its version: what it says, else NUWRAP_NUCLIO_VERSION."""
    path = shutil.which(os.environ.get("NUWRAP_PROCESSOR") or "processor") or ""
    if not path:
        return "", ""
    told = subprocess.run([path, "-version"], capture_output=True, text=True, check=True, timeout=START_S).stdout
    label = re.search(r'Label:"v?(\d+\.\d+[\d.]*)', told)
    return path, label[1] if label else os.environ.get("NUWRAP_NUCLIO_VERSION", "")


def stock_versions() -> str:
    """Return what the environments have of what Nuclio's own wrapper imports."""
    found = re.findall(r"^(nuclio-sdk|msgpack)==([\d.]+)", LOCK.read_text(), re.MULTILINE)
    return " and ".join(f"{name} {version}" for name, version in found)


def _config(handler: str, address: str, workers: int) -> dict[str, Any]:
    attributes = {"maxRequestBodySize": BODY_BYTES}
    trigger = {"kind": "http", "name": "http", "numWorkers": workers, "url": address, "attributes": attributes}
    spec = {"runtime": "python", "handler": f"main:{handler}", "triggers": {"http": trigger}}
    return {"metadata": {"name": "bench", "namespace": "default"}, "spec": spec}


def _platform(health: str) -> dict[str, Any]:
    quiet = [{"level": "error", "sink": "out"}]
    return {
        "kind": "local",
        "webAdmin": {"enabled": False},
        "healthCheck": {"enabled": True, "listenAddress": health},
        "logger": {"sinks": {"out": {"kind": "stdout"}}, "system": quiet, "functions": quiet},
    }


def _write(path: Path, document: Mapping[str, Any]) -> str:
    path.write_text(json.dumps(document))
    return str(path)


def _ticks(pid: int) -> int:
    """Return the time in user and kernel mode (proc(5): utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _sockets_of(pid: int) -> list[str]:
    """Return the files of a processor's sockets, which it leaves in /tmp when it is killed."""
    held = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            held.add(os.readlink(entry).removeprefix("socket:[").removesuffix("]"))
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    return [line[7] for line in lines if len(line) > 7 and line[6] in held and os.path.exists(line[7])]
