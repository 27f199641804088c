"""The launch document under Nuclio's own processor, started by itself and by `nuwrap-host exec`."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
from git_server import GitServer, commit, make_repository
from real_processor import DEADLINE_S, RealProcessor, find_processor
from s3_server import SECRET, S3Server

CODE = """
import os, time
def prepare(context, size):
    context.user_data.size = size
def serve(context, event, rate):
    if event.path == "/slow":
        time.sleep(600)
    time.sleep(0.2 if event.path == "/both" else 0)
    return {"size": context.user_data.size, "rate": rate, "pid": os.getpid(), "environ": dict(os.environ)}
"""
DECOY = "def f(context, event):\n    return 'what stands beside the processor'\n"
KEYS = {
    "handler": "main:serve",
    "init_function": "prepare",
    "init_parameters": {"size": 3},
    "parameters": {"rate": 0.5},
}
REFUSED = "nuwrap: the function does not start\n"
PASSWORD = "a-pass-word"  # noqa: S105 - of a server in this process
SECRETS = (PASSWORD, SECRET)

Source = tuple[dict[str, str], dict[str, str], Callable[[], int]]


class Processors:
    """Processors that start the drop-in script, copied to where no tree is around it."""

    def __init__(self, tree: str, cache: str, folder: Path, stack: ExitStack) -> None:
        self._tree, self._folder, self._stack, self._count = tree, folder, stack, 0
        self.termination = folder / "termination"
        self.termination.touch()
        self.script = folder / "opt" / "_nuclio_wrapper.py"
        self.script.parent.mkdir()
        shutil.copy(Path(tree, "worker/nuwrap_runtime/worker/nuclio_wrapper.py"), self.script)
        (folder / "tmp").mkdir()
        self._environ = {
            "NUWRAP_TREE": tree,
            "NUWRAP_CACHE": cache,
            "NUWRAP_TERMINATION_LOG": str(self.termination),
            "TMPDIR": str(folder / "tmp"),
        }

    def __call__(
        self, launch: Mapping[str, Any], env: Optional[Mapping[str, str]] = None, **options: Any
    ) -> RealProcessor:
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        document = json.dumps({"api": "nuwrap/v1", **KEYS, **launch})
        environ = {**self._environ, "NUWRAP_LAUNCH": document, **(env or {})}
        return self._stack.enter_context(
            RealProcessor(self._tree, folder, DECOY, env=environ, workers=2, **{"wrapper": str(self.script), **options})
        )

    def ended(self, one: RealProcessor) -> tuple[int, str, dict[str, Any]]:
        """Return the exit code of a processor that ends by itself, its log, and the pod's message.

        The sockets of its workers, which it leaves behind, are removed.
        """
        code = one.process.wait(DEADLINE_S)
        for path in {*re.findall(r"/tmp/nuclio-rpc-\w+\.sock", one.log())}:
            Path(path).unlink()
        return code, one.log(), json.loads(self.termination.read_bytes())


@pytest.fixture
def processors(tree: str, cache: str, tmp_path: Path) -> Iterator[Processors]:
    find_processor()
    with ExitStack() as stack:
        yield Processors(tree, cache, tmp_path.resolve(), stack)


@pytest.fixture
def git(tmp_path: Path) -> Iterator[GitServer]:
    """A server with the function's repository `fn`, which wants a password."""
    repository = make_repository(tmp_path / "repositories" / "fn")
    commit(repository, {"main.py": CODE})
    with GitServer(tmp_path / "repositories", login=f"u:{PASSWORD}") as server:
        yield server


def git_source(git: GitServer, password: str = PASSWORD) -> Source:
    environ = {"GIT_USERNAME": "u", "GIT_PASSWORD": password, "GIT_CONFIG_NOSYSTEM": "1"}
    return {"code_src": f"git+{git.url}/fn"}, environ, lambda: len(git.seen)


def s3_source(s3: S3Server, bucket: str) -> Source:
    s3.ask("PUT", f"/{bucket}/fn/main.py", CODE.encode())
    environ = {f"NUWRAP_SOURCE_{name}": value for name, value in s3.environ().items()}
    return {"code_src": f"s3://{bucket}/fn/"}, environ, lambda: len(s3.seen)


@pytest.fixture(params=["git", "s3", "base64", "code"])
def source(request: pytest.FixtureRequest) -> Source:
    """Keys that name the code, variables that are for it alone, and how often its server was asked so far."""
    if request.param == "git":
        return git_source(request.getfixturevalue("git"))
    if request.param == "s3":
        return s3_source(request.getfixturevalue("s3"), request.getfixturevalue("bucket"))
    text = CODE if request.param == "code" else base64.b64encode(CODE.encode()).decode()
    return {request.param: text}, {}, lambda: 0


def both(one: RealProcessor) -> dict[int, dict[str, Any]]:
    """Return an answer of each of the two workers, by its process, once both take events."""

    def ask() -> dict[int, dict[str, Any]]:
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: one.call(target="/both"), range(4)))
        found = {each.json()["pid"]: each.json() for each in answers if each.status == 200}
        return found if len(found) == 2 else {}

    found: dict[int, dict[str, Any]] = one.until(ask)
    return found


def test_two_workers_and_relaunched_ones_serve_what_the_document_names(processors: Processors, source: Source) -> None:
    launch, environ, asked = source
    one = processors(launch, environ, keys={"eventTimeout": "3s"}).ready()
    before, asked_before = both(one), asked()
    for answer in before.values():
        assert (answer["size"], answer["rate"]) == (3, 0.5)
        assert not {*SECRETS, "NUWRAP_LAUNCH"} & {*answer["environ"], *answer["environ"].values()}
    assert one.call(target="/slow").status == 408
    after = both(one)
    assert len(set(before) & set(after)) == 1
    assert len({each["environ"]["RUN_ID"] for each in (*before.values(), *after.values())}) == 1
    assert one.log().count("nuwrap  source") == 1
    assert asked() == asked_before


def test_a_source_that_fails_is_one_block_of_each_worker_and_the_pods_message(
    processors: Processors, git: GitServer
) -> None:
    launch, environ, _asked = git_source(git, "wrong-" + PASSWORD)
    code, log, message = processors.ended(processors(launch, environ))
    assert code == 2, log  # a panic is how a processor ends when a worker does
    blocks = [one.partition("panic:")[0] for one in log.split(REFUSED)[1:]]
    assert 1 <= len(blocks) <= 2
    assert blocks[0].startswith("  phase   source (exit code 3)\n  reason  SourceError: code_src 'git+http")
    assert "\n  hint    look at code_src, and at the credentials" in blocks[0]
    assert (message["exit_code"], message["failure"]["phase"]) == (3, "source")
    assert len({path for path, login in git.seen if login}) == 1
    assert PASSWORD not in log


def test_a_processor_that_is_started_again_tries_again(processors: Processors, git: GitServer, tmp_path: Path) -> None:
    work = {"NUWRAP_WORK": str(tmp_path / "work")}
    launch, environ, _asked = git_source(git)
    git.login = "u:another"
    assert processors.ended(processors(launch, {**environ, **work}))[2]["exit_code"] == 3
    git.login = f"u:{PASSWORD}"
    assert len(both(processors(launch, {**environ, **work}).ready())) == 2


def test_an_init_that_fails_says_its_line_last(processors: Processors) -> None:
    code = CODE.replace("context.user_data.size = size", "context.user_data.size = size / 0")
    ended, log, message = processors.ended(processors({"code": code}))
    assert ended == 2, log
    block = log.split(REFUSED)[1]
    assert block.startswith("  phase   init (exit code 6)\n  place   main.py:4 in prepare\n")
    assert "\n  line    context.user_data.size = size / 0\n  reason  ZeroDivisionError: division by zero\n" in block
    assert message["failure"]["frames"][-1]["line"] == 4


# nuwrap-host exec


@pytest.fixture
def by_exec(tree: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have processors started by `nuwrap-host exec`, with nothing set for them."""
    entry = os.path.join(tree, "worker", "nuwrap_runtime", "host", "entry.py")
    command = [sys.executable, "-I", "-S", "-u", entry, "exec", "--python", sys.executable, "--", find_processor()]
    script = tmp_path / "processor"
    script.write_text(
        "#!/bin/sh\n"
        "unset NUCLIO_PYTHON_WRAPPER_PATH NUCLIO_PYTHON_EXE_PATH\n"
        f"export NUWRAP_WORK={shlex.quote(str(tmp_path / 'work'))}\n"
        f'exec {shlex.join(command)} "$@"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("NUWRAP_PROCESSOR", str(script))


@pytest.mark.usefixtures("by_exec")
def test_exec_prepares_and_becomes_a_processor_without_credentials(processors: Processors, git: GitServer) -> None:
    launch, environ, asked = git_source(git)
    one = processors(launch, environ, keys={"eventTimeout": "3s"}).ready()
    before, asked_before = both(one), asked()
    assert {(each["size"], each["rate"]) for each in before.values()} == {(3, 0.5)}
    own = Path(f"/proc/{one.process.pid}/environ").read_text()
    assert "NUWRAP_WORKER_SPEC=" in own
    assert not [name for name in (*SECRETS, "NUWRAP_LAUNCH") if name in own]
    assert one.call(target="/slow").status == 408
    assert len(set(before) & set(both(one))) == 1
    assert asked() == asked_before


@pytest.mark.usefixtures("by_exec")
def test_exec_of_a_source_that_fails_starts_no_processor(processors: Processors, git: GitServer) -> None:
    launch, environ, _asked = git_source(git, "wrong-" + PASSWORD)
    code, log, message = processors.ended(processors(launch, environ))
    assert (code, log.count(REFUSED), message["exit_code"]) == (3, 1, 3)
    assert log.partition(REFUSED)[2].startswith("  phase   source (exit code 3)\n  reason  SourceError: code_src")
    assert log.rstrip().splitlines()[-1].startswith("  hint    look at code_src")
    assert PASSWORD not in log
