"""A worker that finds a launch document and nothing prepared: the drop-in script, sockets first, one preparation."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import takewhile
from pathlib import Path
from typing import Any, Optional

import pytest
from git_server import GitServer, make_repository
from http_server import File, HttpServer, status
from made_packages import wheel
from running_job import is_running, wait_gone
from scripted_processor import LISTEN, ONE, ScriptedProcessor, WorkerGone

from nuwrap_runtime.worker.nuclio import launching
from nuwrap_runtime.worker.nuclio_wrapper import MAIN

TELLS = """
import os
def init(context, size):
    context.user_data.size = size
def f(context, event, rate):
    names = "RUN_ID PROJECT_NAME AWS_REGION PYTHONPATH NUWRAP_LAUNCH GIT_TOKEN NUWRAP_SOURCE_GIT_TOKEN"
    found = {name: os.environ.get(name) for name in names.split()}
    return {"size": context.user_data.size, "rate": rate, "pid": os.getpid(), "cwd": os.getcwd(), **found}
"""
PLAIN = "def f(context, event):\n    return 'from the launch document'\n"
REFUSED = "nuwrap: the function does not start\n"


class Starts:
    """Workers of one processor, which this process plays, with a temporary folder and a cache of their own."""

    def __init__(self, tree: str, cache: str, folder: Path, root: Path, stack: ExitStack) -> None:
        self._tree, self.root, self._stack = tree, root, stack
        self.tmp, self.termination = folder / "tmp", folder / "termination"
        self.tmp.mkdir()
        self.termination.touch()
        self._environ = {
            "TMPDIR": str(self.tmp),
            "NUWRAP_CACHE": cache,
            "NUWRAP_TERMINATION_LOG": str(self.termination),
        }

    def __call__(
        self, keys: Optional[Mapping[str, Any]] = None, *, env: Optional[Mapping[str, Any]] = None, **options: Any
    ) -> ScriptedProcessor:
        document = {"api": "nuwrap/v1", "handler": "f", **keys} if keys else None
        launch = {"NUWRAP_LAUNCH": json.dumps(document)} if document else {}
        environ = {**self._environ, **launch, **(env or {})}
        given = {name: str(value) for name, value in environ.items() if value is not None}
        return self._stack.enter_context(ScriptedProcessor(self._tree, self.root, env=given, **options))

    def refused(self, one: ScriptedProcessor) -> tuple[int, str, dict[str, Any]]:
        """Return the exit code of a worker that does not start, its block, and the pod's message."""
        with pytest.raises(WorkerGone) as gone:
            one.start()
        text = one.stderr()
        assert text.count(REFUSED) == 1, text
        message = self.termination.read_bytes()
        assert len(message) <= 4096
        return gone.value.code, text[text.index(REFUSED) + len(REFUSED) :], json.loads(message)


@pytest.fixture
def starts(tree: str, cache: str, tmp_path: Path, root: Path) -> Iterator[Starts]:
    with ExitStack() as stack:
        yield Starts(tree, cache, tmp_path.resolve(), root, stack)


def field(block: str, name: str) -> str:
    """Return what the block says under that name, its further lines included."""
    lines = iter(block.splitlines())
    found = next(line for line in lines if line.startswith(f"  {name}"))
    return "\n".join([found[10:], *(line[10:] for line in takewhile(lambda one: one.startswith(" " * 10), lines))])


def sources(*workers: ScriptedProcessor) -> int:
    """Return how many times the workers have fetched code."""
    return sum(one.stderr().count("nuwrap  source") for one in workers)


# The script


def test_the_script_serves_as_plain_nuclio_does_when_nothing_of_ours_is_set(
    starts: Starts, tree: str, tmp_path: Path
) -> None:
    copied = tmp_path / "_nuclio_wrapper.py"
    shutil.copy(Path(tree, "worker/nuwrap_runtime/worker/nuclio_wrapper.py"), copied)
    (tmp_path / "fn").mkdir()
    (tmp_path / "fn" / "mod.py").write_text("def go(one, two):\n    return type(one).__name__ + two.body.decode()\n")
    env = {"NUWRAP_TREE": tree, "PYTHONPATH": tmp_path / "fn"}
    one = starts(env=env, script=str(copied), handler="mod:go").start()
    assert one.ask(b"!").body == "Context!"
    assert one.stderr() == ""


@pytest.mark.parametrize("is_linked", [True, False])
def test_the_script_in_a_tree_or_a_link_to_it_finds_that_tree(starts: Starts, tree: str, is_linked: bool) -> None:
    script = os.path.join(tree, "worker", "nuwrap_runtime", "worker", "nuclio_wrapper.py")
    if is_linked:
        os.symlink(script, starts.tmp / "wrapper.py")
        script = str(starts.tmp / "wrapper.py")
    (starts.root / "main.py").write_text(PLAIN)
    assert starts(env={"PYTHONPATH": starts.root}, script=script).start().ask().status == 200


@pytest.mark.parametrize("name", ["main", "nuclio_wrapper"])
def test_a_function_beside_files_named_like_the_standard_librarys_starts(starts: Starts, tree: str, name: str) -> None:
    (starts.root / "main.py").write_text("import calendar, types\ndef f(c, e):\n    return calendar.__file__\n")
    for one in ("types", "typing", "collections", "operator", "calendar", "json", "queue", "re", "struct"):
        (starts.root / f"{one}.py").write_text("raise RuntimeError('imported')\n")
    script = os.path.join(tree, "worker", "nuwrap_runtime", "worker", f"{name}.py")
    bare = Path(sys.executable).resolve()  # an environment's own start may import such names itself
    one = starts(env={"PYTHONPATH": starts.root}, script=script, python=str(bare)).start()
    assert str(starts.root) not in one.ask().body
    assert "not importable" in one.logs()[0]["message"]


@pytest.mark.parametrize("named", ["", "/nowhere/named"])
def test_a_script_without_its_tree_says_all_places_it_looked_at(tree: str, tmp_path: Path, named: str) -> None:
    if not named and os.path.isfile(os.path.join("/opt/nuwrap", MAIN)):
        pytest.skip("NOT TESTED: there is a tree in /opt/nuwrap")
    copied = tmp_path / "wrapper.py"
    shutil.copy(Path(tree, "worker/nuwrap_runtime/worker/nuclio_wrapper.py"), copied)
    environ = {**os.environ, "NUWRAP_TREE": named}
    done = subprocess.run([sys.executable, str(copied)], env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (10, 1)
    place = "/nowhere/named ($NUWRAP_TREE)." if named else "/opt/nuwrap (an image's)."
    assert f"Looked for {MAIN} in: {place} Set NUWRAP_TREE to the folder that has it" in done.stderr


# What the document says


def test_the_documents_handler_init_and_values_win_and_its_credentials_go(starts: Starts) -> None:
    keys = {"code": TELLS, "init_function": "init", "init_parameters": {"size": 3}, "parameters": {"rate": 0.5}}
    env = {
        "GIT_TOKEN": "t0ken",
        "NUWRAP_SOURCE_GIT_TOKEN": "t1ken",
        "AWS_REGION": "r",
        "PYTHONPATH": "/some/folder",
    }
    one = starts({**keys, "project": "p", "run": "R"}, env=env, handler="other.module:g").start()
    told = one.answers()
    assert told.pop("cwd").startswith(str(starts.tmp))
    assert told.pop("pid") == one.process.pid
    names = {"RUN_ID": "R", "PROJECT_NAME": "p", "AWS_REGION": "r", "PYTHONPATH": "/some/folder"}
    gone = dict.fromkeys(("NUWRAP_LAUNCH", "GIT_TOKEN", "NUWRAP_SOURCE_GIT_TOKEN"))
    assert told == {"size": 3, "rate": 0.5, **names, **gone}
    assert one.finish() == 0


def test_a_document_may_be_a_file(starts: Starts) -> None:
    (starts.tmp / "launch.json").write_text(json.dumps({"api": "nuwrap/v1", "handler": "f", "code": PLAIN}))
    assert starts(env={"NUWRAP_LAUNCH": f"@{starts.tmp}/launch.json"}).start().ask().status == 200


@pytest.mark.parametrize("name", ["NUWRAP_CODE", "NUWRAP_BASE64", "NUWRAP_CODE_SRC"])
def test_a_source_by_a_variable_alone_takes_the_processors_handler(starts: Starts, name: str) -> None:
    (starts.root / "fn.py").write_text(PLAIN)
    encoded = base64.b64encode(PLAIN.encode()).decode()
    value = {"NUWRAP_CODE": PLAIN, "NUWRAP_BASE64": encoded, "NUWRAP_CODE_SRC": "fn.py"}[name]
    handler = "fn:f" if name == "NUWRAP_CODE_SRC" else "main:f"
    assert starts(env={name: value}, handler=handler).start().ask().body == "from the launch document"


def test_the_interpreter_is_the_processors_unless_the_document_names_one(starts: Starts) -> None:
    code = "import sys\ndef f(context, event):\n    return sys.executable\n"
    assert starts({"code": code}, env={"PATH": "/usr/bin:/bin"}).start().ask().body == sys.executable
    other = starts.tmp / "python-of-the-document"
    other.symlink_to(sys.executable)
    one = starts({"code": code, "python": str(other)}).start()
    assert one.ask().body == str(other)


def test_a_prepared_worker_looks_at_no_document(starts: Starts) -> None:
    (starts.root / "main.py").write_text("def f(context, event):\n    return 'prepared'\n")
    spec = {"api": "nuwrap/worker/v1", "root": str(starts.root), "handler": "main:f"}
    (starts.tmp / "worker.json").write_text(json.dumps(spec))
    one = starts({"code": PLAIN}, env={"NUWRAP_WORKER_SPEC": starts.tmp / "worker.json"}).start()
    assert one.ask().body == "prepared"


@pytest.mark.parametrize("lost", ["worker.json", "source"])
def test_what_was_prepared_and_is_gone_is_one_block(starts: Starts, lost: str) -> None:
    root, spec = starts.tmp / "source", starts.tmp / "worker.json"
    if lost != "worker.json":
        spec.write_text(json.dumps({"api": "nuwrap/worker/v1", "root": str(root), "handler": "main:f"}))
    one = starts({"code": PLAIN}, env={"NUWRAP_WORKER_SPEC": spec})
    assert one.ended() == 10
    block = one.stderr().partition(REFUSED)[2]
    assert field(block, "phase") == "platform (exit code 10)"
    assert lost in field(block, "reason")
    assert field(block, "hint").endswith("prepare again")


def test_an_old_processors_one_socket_is_enough(starts: Starts) -> None:
    assert starts({"code": PLAIN}, sockets=ONE).start().ask().status == 200


def test_who_connects_while_the_code_is_on_its_way_is_answered_later(starts: Starts, web: HttpServer) -> None:
    code = b"async def f(context, event):\n    return event.body\n"
    web.on("/fn.py", File(code, is_chunked=True, block=8, pause_s=0.05))
    one = starts({"code_src": f"{web.url}/fn.py", "handler": "f"}, sockets=LISTEN)
    first, second = one.connect(), one.connect()
    assert [first.ask(b"1").body, second.ask(b"2").body] == [b"1", b"2"]


def test_what_the_function_starts_has_none_of_the_sockets(starts: Starts) -> None:
    code = """
import os, subprocess
def f(context, event):
    listed = subprocess.run(["ls", "-l", "/proc/self/fd"], close_fds=False, capture_output=True, text=True)
    return [line for line in listed.stdout.splitlines() if "socket:" in line]
"""
    assert starts({"code": code}).start().answers() == []


def test_requirements_are_installed_once_and_the_worker_goes_on_with_them(starts: Starts) -> None:
    made = wheel(starts.tmp, "nuwraptestleaf", "1.5")
    code = "import nuwraptestleaf, sys\ndef f(context, event):\n    return [nuwraptestleaf.VERSION, sys.prefix]\n"
    keys = {"code": code, "requirements": [f"nuwraptestleaf @ {made.as_uri()}"], "isolated": True}
    workers = [starts(keys) for _ in range(2)]
    told = [one.start().answers() for one in workers]
    assert told[0] == told[1]
    assert told[0][0] == "1.5"
    assert told[0][1] != sys.prefix
    assert sum(one.stderr().count("in an environment of their own") for one in workers) == 1


# Once for a processor


def test_workers_that_start_at_once_prepare_once(starts: Starts) -> None:
    keys = {"code": TELLS, "init_function": "init", "init_parameters": {"size": 3}, "parameters": {"rate": 1}}
    workers = [starts(keys) for _ in range(3)]
    told = [one.start().answers() for one in workers]
    assert sources(*workers) == 1
    assert len({one["pid"] for one in told}) == 3
    assert len({(one["RUN_ID"], one["cwd"]) for one in told}) == 1
    assert told[0]["RUN_ID"]


def test_a_relaunch_takes_what_is_prepared_although_the_source_has_changed(starts: Starts) -> None:
    (starts.root / "fn.py").write_text("def f(context, event):\n    return 'first'\n")
    keys = {"code_src": "fn.py", "handler": "fn:f"}
    one = starts(keys).start()
    one.process.kill()
    (starts.root / "fn.py").write_text("def f(context, event):\n    return 'second'\n")
    again = starts(keys).start()
    assert (again.ask().body, sources(again)) == ("first", 0)


def test_another_document_is_prepared_for_itself(starts: Starts) -> None:
    first, second = ({"code": f"def f(context, event):\n    return '{name}'\n"} for name in ("first", "second"))
    assert [starts(one).start().ask().body for one in (first, second, first)] == ["first", "second", "first"]


def test_what_the_function_has_destroyed_is_prepared_again(starts: Starts) -> None:
    code = "import os, shutil\ndef f(context, event):\n    shutil.rmtree(os.path.dirname(os.getcwd()))\n"
    starts({"code": code}).start().ask()
    again = starts({"code": code}).start()
    assert (again.ask().status, sources(again)) == (200, 1)


def test_the_work_folder_is_the_users_alone_and_goes_when_nobody_has_it_any_more(
    starts: Starts, tree: str, cache: str
) -> None:
    one = starts({"code": PLAIN}).start()
    [folder] = starts.tmp.iterdir()
    assert folder.stat().st_mode & 0o077 == 0
    os.utime(folder, (0, 0))
    start_something(tree, cache, starts.tmp)
    assert folder.is_dir()
    assert one.ask().status == 200
    assert one.finish() == 0
    start_something(tree, cache, starts.tmp)
    assert list(starts.tmp.iterdir()) == []


def start_something(tree: str, cache: str, tmp: Path) -> None:
    """Let a start clean up what others have left in the temporary folder."""
    entry = os.path.join(tree, "worker", "nuwrap_runtime", "host", "entry.py")
    command = [sys.executable, "-I", "-S", entry, "check", "--code", PLAIN, "--handler", "f", "--python"]
    environ = {**os.environ, "TMPDIR": str(tmp), "NUWRAP_CACHE": cache}
    subprocess.run([*command, sys.executable], env=environ, check=True, capture_output=True)


def test_a_work_folder_of_somebody_else_is_refused(starts: Starts) -> None:
    starts({"code": PLAIN}).start()
    [folder] = starts.tmp.iterdir()
    folder.chmod(0o777)
    code, block, _message = starts.refused(starts({"code": PLAIN}))
    assert (code, field(block, "phase")) == (10, "platform (exit code 10)")
    assert f"the work folder {str(folder)!r} is not this user's alone (drwxrwxrwx" in field(block, "reason")


def test_the_work_folder_that_the_platform_names_is_taken_and_stays(starts: Starts) -> None:
    code = "import os\ndef f(context, event):\n    return os.environ['NUWRAP_WORK']\n"
    work = starts.root.parent / "work"
    one = starts({"code": code}, env={"NUWRAP_WORK": work}).start()
    assert one.ask().body == str(work)
    assert list(starts.tmp.iterdir()) == []
    assert one.finish() == 0
    assert (work / "source" / "main.py").read_text() == code


def test_processors_have_names_of_their_own() -> None:
    script = (
        "import socket, sys\n"
        "listener = socket.socket(socket.AF_UNIX)\n"
        "listener.bind(sys.argv[1])\nlistener.listen()\nprint(flush=True)\nsys.stdin.read()"
    )
    names = []
    with ExitStack() as stack:
        for number in (1, 2):
            path = f"/tmp/nuwrap-test-{os.getpid()}-{number}"
            stack.callback(Path(path).unlink)
            pipe = subprocess.PIPE
            process = stack.enter_context(
                subprocess.Popen([sys.executable, "-c", script, path], stdin=pipe, stdout=pipe)
            )
            stack.callback(process.kill)
            assert process.stdout
            process.stdout.readline()
            for _ in range(2):
                peer = stack.enter_context(socket.socket(socket.AF_UNIX))
                peer.connect(path)
                names.append((process.pid, launching.processor_name([peer])))
    assert len({name for _, name in names}) == 2
    assert all(name.startswith(f"{pid}-") for pid, name in names)


# What fails


def test_a_source_that_fails_is_asked_once_and_told_by_each_worker(starts: Starts, tmp_path: Path) -> None:
    make_repository(tmp_path / "repos" / "r")
    with GitServer(tmp_path / "repos", login="u:right") as server:
        keys = {"code_src": f"git+{server.url}/r", "handler": "f"}
        env = {"GIT_USERNAME": "u", "GIT_PASSWORD": "wrong-passw0rd"}
        workers = [starts(keys, env=env) for _ in range(3)]
        told = [starts.refused(one) for one in workers]
        asked = len(server.seen)
        again = starts.refused(starts(keys, env=env))
        assert len(server.seen) == asked
    code, block, message = told[0]
    assert (code, field(block, "phase")) == (3, "source (exit code 3)")
    assert f"SourceError: code_src 'git+{server.url}/r'" in field(block, "reason")
    assert field(block, "hint").startswith("look at code_src, and at the credentials for it")
    assert all(one == told[0] for one in [*told, again])
    assert (message["state"], message["exit_code"], message["failure"]["phase"]) == ("ERROR", 3, "source")
    assert not any("wrong-passw0rd" in one.stderr() for one in workers)


@pytest.mark.parametrize(
    ("keys", "phase", "reason"),
    [
        ({"code": PLAIN, "handlr": "f"}, "launch (exit code 2)", "did you mean 'handler'?"),
        ({"code": PLAIN, "requirements": ["-r all.txt"]}, "requirements (exit code 4)", "'-r all.txt' is an option"),
        (
            {"code": PLAIN, "requirements": ["x @ file:///nowhere/x-1.0-py3-none-any.whl"]},
            "requirements (exit code 4)",
            "x",
        ),
        ({"code": PLAIN, "python": "/nowhere"}, "platform (exit code 10)", "python '/nowhere' is not an interpreter"),
        ({"code": PLAIN, "handler": "g"}, "load (exit code 5)", "'g' not found in main.py; it defines: f"),
    ],
)
def test_what_is_refused_is_one_block(starts: Starts, keys: dict[str, Any], phase: str, reason: str) -> None:
    code, block, message = starts.refused(starts(keys))
    assert field(block, "phase") == phase
    assert reason in field(block, "reason")
    assert phase == f"{message['failure']['phase']} (exit code {code})"
    assert message["exit_code"] == code


def test_a_document_that_is_no_json_is_one_block(starts: Starts) -> None:
    code, block, _message = starts.refused(starts(env={"NUWRAP_LAUNCH": '{"api": '}))
    assert (code, field(block, "phase")) == (2, "launch (exit code 2)")
    assert "$NUWRAP_LAUNCH is not JSON" in field(block, "reason")


@pytest.mark.parametrize(
    ("code", "exit_code", "place", "line", "hint"),
    [
        ("import not_there.x\n", 5, "main.py:1 in <module>", "import not_there.x", "if 'not_there' is a package, add"),
        ("def f(:\n", 5, "main.py:1 in <module>", "def f(:", "handler is"),
        ("def f(c, e): pass\ndef init(context):\n    int('x')\n", 6, "main.py:3 in init", "int('x')", "init_function"),
        ("raise SystemExit(3)\n", 5, "main.py:1 in <module>", "raise SystemExit(3)", "handler is"),
        ("import sys\nsys.stderr = None\n1 / 0\n", 5, "main.py:3 in <module>", "1 / 0", "handler is"),
    ],
    ids=["missing", "syntax", "init", "exit", "silenced"],
)  # fmt: skip
def test_a_function_that_does_not_start_says_where(
    starts: Starts, code: str, exit_code: int, place: str, line: str, hint: str
) -> None:
    keys = {"code": code, **({"init_function": "init"} if exit_code == 6 else {})}
    found, block, message = starts.refused(starts(keys))
    assert found == exit_code
    assert (field(block, "place"), field(block, "line")) == (place, line)
    assert hint in field(block, "hint")
    assert message["failure"]["frames"][-1]["file"] == "main.py"


def test_a_reason_of_many_lines_and_escapes_is_still_one_block(starts: Starts) -> None:
    code = "def init(context):\n    raise ValueError('one\\n  hint    two\\x1b[31m')\ndef f(c, e): pass\n"
    _code, block, _message = starts.refused(starts({"code": code, "init_function": "init"}))
    assert field(block, "reason").splitlines() == ["ValueError: one", "  hint    two\\x1b[31m"]
    assert field(block, "hint").startswith("init_function, or init_context")


def test_a_message_that_is_too_long_stays_json(starts: Starts) -> None:
    code = "def init(context):\n    raise ValueError('ü' * 9000)\ndef f(c, e): pass\n"
    _code, _block, message = starts.refused(starts({"code": code, "init_function": "init"}))
    assert "message" in message["truncated"]


def test_what_failed_is_tried_again_by_the_next_document(starts: Starts, web: HttpServer) -> None:
    web.on("/fn.py", status(404), File(PLAIN.encode()))
    keys = {"code_src": f"{web.url}/fn.py", "handler": "f"}
    assert starts.refused(starts(keys))[0] == 3
    assert starts({**keys, "run": "another"}).start().ask().status == 200


# Stops


def waiting_for(starts: Starts, server: GitServer) -> tuple[ScriptedProcessor, int]:
    """Return a worker whose code does not come, and the process that fetches it."""
    one = starts({"code_src": f"git+{server.url}/r", "handler": "f"}).accept()
    assert server.asked.wait(60)
    return one, next(iter(children(one.process.pid)))


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(sys.platform != "linux", reason="NOT TESTED: looks at /proc")
@pytest.mark.parametrize("how", ["killed", "told"])
def test_a_processor_that_goes_while_the_code_is_on_its_way_takes_the_worker_along(
    starts: Starts, tmp_path: Path, how: str
) -> None:
    with GitServer(tmp_path, is_mute=True) as server:
        one, child = waiting_for(starts, server)
        if how == "killed":
            one.hang_up()
        else:
            one.signal(signal.SIGUSR1)
        assert one.ended() == (143 if how == "killed" else 0)
        wait_gone(child)
    assert REFUSED not in one.stderr()


@pytest.mark.skipif(sys.platform != "linux", reason="NOT TESTED: looks at /proc")
def test_who_waits_goes_on_when_the_one_that_prepares_is_killed(starts: Starts, web: HttpServer) -> None:
    asked = []

    def slow(request: Any) -> None:
        asked.append(request)
        while len(asked) == 1 and is_running(first.process.pid):
            time.sleep(0.02)
        request.reply(200, PLAIN.encode())

    web.on("/fn.py", slow)
    keys = {"code_src": f"{web.url}/fn.py", "handler": "f"}
    first = starts(keys).accept()
    while not asked:
        time.sleep(0.01)
    second = starts(keys).accept()
    while "another worker prepares" not in second.stderr():
        time.sleep(0.01)
    first.process.kill()
    second.wait(b"s")
    assert second.ask().body == "from the launch document"


# A built image


def test_a_worker_of_a_built_image_stands_in_the_images_code(starts: Starts, tmp_path: Path) -> None:
    place = tmp_path.resolve() / "opt"
    (place / "function").mkdir(parents=True)
    (place / "nuwrap-image").mkdir()
    (place / "function" / "main.py").write_text("import os\ndef f(context, event):\n    return os.getcwd()\n")
    source = {"api": "nuwrap/v1", "code_src": "src", "revision": "r"}
    (place / "nuwrap-image" / "source.json").write_text(json.dumps(source))
    one = starts({"code_src": "src"}, env={"NUWRAP_IMAGE": place}).start()
    assert one.ask().body == str(place / "function")
    assert "src at r, from the image" in one.stderr()
