"""What several of the wrapper's tests need: our tree, a folder with the user's code, a started worker."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Callable
from uuid import uuid4

import pytest
from http_server import HttpServer
from running_gateway import RunningGateway
from running_job import Finished, RunningJob
from running_service import RunningService
from s3_server import S3Server
from scripted_processor import ScriptedProcessor

from nuwrap_runtime.host.tree import ensure_tree


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A cache folder that all processes of this test run share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "nuwrap-cache"
    folder.mkdir(mode=0o700, exist_ok=True)
    return str(folder)


@pytest.fixture(scope="session")
def tree(cache: str) -> str:
    """The folder that host and worker run from, made once."""
    return ensure_tree({**os.environ, "NUWRAP_CACHE": cache})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty source root, its path as the host gives it (without links)."""
    folder = tmp_path.resolve() / "source"
    folder.mkdir()
    return folder


@pytest.fixture
def worker(tree: str, root: Path) -> Iterator[Callable[..., ScriptedProcessor]]:
    """Start a worker on `code` (main.py) or on what lies in `root`; further arguments are ScriptedProcessor's."""
    with ExitStack() as stack:

        def make(code: str = "", *, tree: str = tree, **options: Any) -> ScriptedProcessor:
            if code:
                (root / "main.py").write_text(code, encoding="utf-8")
            return stack.enter_context(ScriptedProcessor(tree, root, **options))

        yield make


@pytest.fixture
def job(tree: str, tmp_path: Path) -> Iterator[Callable[..., RunningJob]]:
    """Start `nuwrap-host job` on `code`; further arguments are keys of the launch document."""
    with ExitStack() as stack:

        def start(code: str = "", **keys: Any) -> RunningJob:
            folder = Path(mkdtemp(prefix="job-", dir=tmp_path.resolve()))
            return stack.enter_context(RunningJob(tree, folder, code, keys))

        yield start


@pytest.fixture
def run_job(job: Callable[..., RunningJob]) -> Callable[..., Finished]:
    """Run a job to its end."""
    return lambda code="", **keys: job(code, **keys).wait()


@pytest.fixture
def service(tree: str, tmp_path: Path) -> Iterator[Callable[..., RunningService]]:
    """Serve `code`'s function `f` and wait until it is ready; further arguments are keys of the launch document."""
    with ExitStack() as stack:

        def start(code: str = "", *, wait: bool = True, **keys: Any) -> RunningService:
            folder = Path(mkdtemp(prefix="service-", dir=tmp_path.resolve()))
            running = stack.enter_context(RunningService(tree, folder, code, keys))
            return running.ready() if wait else running.announced()

        yield start


@pytest.fixture(params=["httptools", "h11"])
def gateway(request: pytest.FixtureRequest) -> Iterator[Callable[..., RunningGateway]]:
    """Start a gateway with either parser in this process; arguments are those of HttpLimits."""
    with ExitStack() as stack:
        yield lambda **limits: stack.enter_context(RunningGateway(request.param, **limits))


@pytest.fixture
def web() -> Iterator[HttpServer]:
    """An HTTP server that a test scripts."""
    with HttpServer() as server:
        yield server


@pytest.fixture(scope="session")
def _s3_server() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture
def s3(_s3_server: S3Server) -> Iterator[S3Server]:
    """An S3 server with no faults yet; what other tests stored is in buckets of their own."""
    _s3_server.reset()
    yield _s3_server
    _s3_server.reset()


@pytest.fixture
def bucket(s3: S3Server) -> str:
    """A fresh bucket's name."""
    name = f"bucket-{uuid4().hex}"
    s3.make(name)
    s3.reset()
    return name


@dataclass(frozen=True)
class MemoryGroup:
    """A control group with little memory; who writes his process id to `entrance` is in it."""

    entrance: str

    def join(self) -> None:
        """Be in it from now on."""
        Path(self.entrance).write_text(str(os.getpid()))


@pytest.fixture
def memory_group() -> Iterator[MemoryGroup]:
    """Make a control group of 96 MiB."""
    old, new = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    parent, limit = (old, "memory.limit_in_bytes") if old.is_dir() else (new, "memory.max")
    folder = parent / f"nuwrap-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as exc:
        pytest.skip(f"NOT TESTED: needs the right to make a memory control group: {exc}")
    if not (folder / limit).exists():
        folder.rmdir()
        pytest.skip(f"NOT TESTED: needs the memory controller in {parent}")
    for name in (limit, "memory.memsw.limit_in_bytes", "memory.swap.max"):
        if (folder / name).exists():
            (folder / name).write_text("0" if name == "memory.swap.max" else str(96 << 20))
    yield MemoryGroup(str(folder / "cgroup.procs"))
    for _ in range(100):  # a process that was killed leaves it a moment later
        try:
            folder.rmdir()
            break
        except OSError:
            time.sleep(0.05)
