"""Platform `docker`: jobs in real containers of a real daemon."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from container_images import left_of, own_images
from container_runs import Runner, run, wait_for
from lab import docker

from nuwrap.platforms.docker_given import IGNORED
from nuwrap_runtime.errors import InputsError, OutputsError, SourceError
from nuwrap_runtime.host.sources import local

__all__ = ["own_images", "run"]

WAITING = "import signal\ndef f():\n    print('waiting', flush=True)\n    signal.pause()"


def test_a_function_runs_in_a_container_and_its_result_comes_back(run: Runner) -> None:
    ended = run("import os\ndef f(x):\n    print('hello')\n    return x + 1, os.getuid()", parameters={"x": 2})
    assert (ended.code, ended.results) == (0, [3, 8877])
    assert "hello\n" in ended.log
    assert ended.result["run"] == ended.run
    assert left_of(ended.run) == ""


@pytest.mark.parametrize(
    ("body", "code"),
    [("raise ValueError('no')", 1), ("import os; os._exit(3)", 9), ("import os; os.kill(os.getpid(), 11)", 139)],
    ids=["it raises", "it leaves", "it breaks"],
)
def test_an_exit_code_comes_through(run: Runner, body: str, code: int) -> None:
    ended = run(f"def f():\n    {body}")
    assert (ended.code, ended.result["exit_code"], ended.result["state"]) == (code, code, "ERROR")
    assert left_of(ended.run) == ""


def test_a_secret_is_a_file_in_memory_and_masked_in_what_is_printed(run: Runner) -> None:
    code = (
        "import os\ndef f(project):\n    path = os.environ['NUWRAP_SECRETS'] + '/TOKEN'\n    text = open(path).read()\n"
        "    print('printed', text, flush=True)\n    kinds = dict(line.split()[1:3] for line in open('/proc/mounts'))\n"
        "    same = text == os.environ['TOKEN'] == project.get_secret('TOKEN')\n"
        "    return same, oct(os.stat(path).st_mode)[-3:], kinds['/run/secrets']"
    )
    ended = run(code, values={"TOKEN": "s3cr3t-value"})
    assert (ended.code, ended.results) == (0, [True, "400", "tmpfs"]), ended.log
    assert "printed ***" in ended.log
    found = subprocess.run(["grep", "-r", "s3cr3t", str(run.base)], capture_output=True, check=False)
    assert found.stdout == b""


def test_no_value_shows_in_what_docker_tells_of_the_container(run: Runner) -> None:
    keys = {"environ": {"A": "plain-value"}, "parameters": {}, "values": {"TOKEN": "s3cr3t-value"}}
    with run.started(WAITING.replace("'waiting'", "'waiting', 3"), **keys) as under:
        wait_for(lambda: "waiting" in under.log, under)
        told = docker("inspect", under.container)
        assert json.loads(told)[0]["State"]["Running"]
        assert "plain-value" not in told
        assert "s3cr3t-value" not in told
        assert "signal.pause" not in told


def test_the_runs_variables_reach_the_function_and_not_the_docker_client(run: Runner) -> None:
    own = {"A": "x y=z\nsecond", "DOCKER_HOST": "tcp://nowhere:1", "HOME": "/tmp/home"}
    code = "import os\ndef f(): return [os.environ[n] for n in ('A', 'DOCKER_HOST', 'PROJECT_NAME')], 'B' in os.environ"
    os.environ["B"] = "mine"
    try:
        ended = run(code, environ=own)
    finally:
        del os.environ["B"]
    assert (ended.code, ended.results) == (0, [["x y=z\nsecond", "tcp://nowhere:1", "default"], False]), ended.log


def test_a_container_is_closed_but_for_its_places(run: Runner) -> None:
    code = (
        "import os\ndef closed(path):\n    try:\n        open(path, 'w').close()\n    except OSError:\n"
        "        return True\n    return False\n"
        "def f():\n    status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        "    return [closed(p + '/x') for p in ('/', '/opt/nuwrap', '/usr', '/work', '/cache', '/tmp')],"
        " status['CapEff'].strip(), status['NoNewPrivs'].strip()"
    )
    ended = run(code)
    assert ended.results == [[True, True, True, False, False, False], "0" * 16, "1"], ended.log


def test_a_local_file_is_its_module(run: Runner) -> None:
    (run.base / "src").mkdir()
    (run.base / "src/fn.py").write_text("def f(): return __name__")
    (run.base / "secret.txt").write_text("not sent")
    ended = run(code_src="src/fn.py")
    assert (ended.code, ended.results) == (0, ["src.fn"]), ended.log


def test_a_local_folder_is_sent_without_what_is_no_code(run: Runner) -> None:
    for name in (".git", "__pycache__", "venv", "pkg"):
        (run.base / "app" / name).mkdir(parents=True)
        (run.base / "app" / name / "pyvenv.cfg").write_text("") if name == "venv" else None
    (run.base / "app/main.py").write_text(
        "import os, pkg.m\ndef f(): return sorted(os.listdir('/work/given/code/app')), pkg.m.X"
    )
    (run.base / "app/pkg/m.py").write_text("X = 5")
    (run.base / "app/link.py").symlink_to("main.py")
    ended = run(code_src="app")
    assert (ended.code, ended.results) == (0, [["link.py", "main.py", "pkg"], 5]), ended.log


def test_code_that_is_an_entity_here_goes_in(run: Runner) -> None:
    (run.base / "fn.py").write_text("def f(): return __name__")
    key = "store://default/artifact/artifact/code:1"
    ended = run(code_src=key, entities={key: {"kind": "artifact", "path": str(run.base / "fn.py")}})
    assert (ended.code, ended.results) == (0, ["fn"]), ended.log


def test_what_is_no_code_is_known_alike_on_both_sides() -> None:
    assert IGNORED == local.IGNORED


def test_an_input_is_a_read_only_copy_and_told_by_its_own_path(run: Runner) -> None:
    (run.base / "data.csv").write_text("a,b\n1,2\n")
    key = "store://default/dataitem/table/data:1"
    code = "import os\ndef f(di): return di.kind, open(di.path).read(), os.access(di.path, os.W_OK)"
    entities = {key: {"kind": "table", "path": str(run.base / "data.csv")}}
    ended = run(code, inputs={"di": key}, entities=entities)
    assert (ended.code, ended.results) == (0, ["table", "a,b\n1,2\n", False]), ended.log
    assert ended.result["inputs"]["di"]["path"] == str(run.base / "data.csv")


def test_outputs_come_back_to_the_runs_folder(run: Runner) -> None:
    ended = run("def f(): return b'bytes', b'more'")
    assert ended.code == 0, ended.log
    paths = [ended.folder / one["path"] for one in ended.result["outputs"].values()]
    assert [path.read_bytes() for path in paths] == [b"bytes", b"more"]


def test_outputs_come_back_to_a_folder_that_is_named(run: Runner) -> None:
    ended = run("def f(): return b'bytes'", output_path=str(run.base / "out"))
    assert ended.code == 0, ended.log
    document = json.loads((run.base / "out/result.json").read_text())
    (output,) = document["outputs"].values()
    assert (run.base / "out" / output["path"]).read_bytes() == b"bytes"


def test_what_a_function_puts_beside_its_outputs_does_no_harm(run: Runner) -> None:
    code = (
        "import os\ndef f():\n    os.symlink('/etc/passwd', '/work/run/outputs/link')\n"
        "    os.symlink('/etc', '/work/run/extra')\n    os.mkfifo('/work/run/outputs/pipe')\n"
        "    open('/work/run/more.txt', 'w').close()\n    return b'x'"
    )
    ended = run(code)
    assert ended.code == 0, ended.log
    found = sorted(str(path.relative_to(ended.folder)) for path in ended.folder.rglob("*"))
    assert [one for one in found if "link" in one or "pipe" in one or "extra" in one or "more" in one] == []
    assert [one for one in found if one.startswith("outputs/")]


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_ends_the_run_as_stopped(run: Runner, sent: signal.Signals) -> None:
    with run.started(WAITING) as under:
        wait_for(lambda: "waiting" in under.log, under)
        under.process.send_signal(sent)
        assert under.code == 143
    assert under.result["state"] == "STOPPED"
    assert left_of(under.run) == ""


def test_a_stop_from_before_the_function_begins_is_not_lost(run: Runner) -> None:
    for pause in (0.1, 0.4, 0.7, 1.0):
        with run.started(WAITING) as under:
            try:
                under.process.wait(pause)
            except subprocess.TimeoutExpired:
                under.process.terminate()
            assert under.process.wait(30) in (143, -signal.SIGTERM), under.log
        assert left_of(under.run) == ""


def test_a_host_that_does_not_end_in_its_grace_is_killed(run: Runner) -> None:
    code = "import os, signal\ndef f():\n    print('waiting', flush=True)\n    os.kill(os.getppid(), signal.SIGSTOP)"
    with run.started(code, grace_s=0.5) as under:
        wait_for(lambda: "waiting" in under.log, under)
        under.process.terminate()
        assert under.process.wait(60) == 137
    assert left_of(under.run) == ""


def test_a_container_that_somebody_else_removes_is_a_failure(run: Runner) -> None:
    with run.started(WAITING) as under:
        wait_for(lambda: "waiting" in under.log, under)
        docker("rm", "--force", under.container)
        assert under.code != 0
    assert not (under.folder / "result.json").exists()
    assert left_of(under.run) == ""


def test_a_killed_supervisor_ends_the_container_and_the_next_run_clears_up(run: Runner) -> None:
    with run.started(WAITING) as under:
        wait_for(lambda: "waiting" in under.log, under)
        under.process.kill()
        under.process.wait()
    assert docker("wait", under.container).strip() == "143"
    run.place("def f(): pass")
    assert left_of(under.run) == ""


def test_clearing_up_leaves_what_somebody_stays_with(run: Runner) -> None:
    with run.started(WAITING) as under:
        wait_for(lambda: "waiting" in under.log, under)
        run.place("def f(): pass")
        assert json.loads(docker("inspect", under.container))[0]["State"]["Running"]


def test_more_memory_than_the_limit_is_exit_137_and_says_so(run: Runner) -> None:
    container = {"resources": {"mem": {"limits": "96Mi"}, "cpu": {"requests": "0.5", "limits": "1"}}}
    ended = run("def f(): return len(bytearray(1 << 30).replace(b'0', b'1'))", container=container)
    assert ended.code == 137, ended.log
    assert "memory" in ended.result["failure"]["message"]
    assert left_of(ended.run) == ""


def test_a_container_that_has_not_the_memory_to_begin_says_so(run: Runner) -> None:
    ended = run("def f(): pass", container={"resources": {"mem": {"limits": "6Mi"}}})
    assert ended.code == 137, ended.log
    assert ended.result["failure"]["phase"] == "platform"
    assert "resources.mem.limits" in ended.result["failure"]["message"]


def test_gpus_that_docker_cannot_give_are_told_with_what_they_need(run: Runner) -> None:
    if "nvidia" in docker("info"):
        pytest.skip("this daemon gives GPUs")
    ended = run("def f(): pass", container={"resources": {"gpu": "1"}})
    assert ended.code != 0
    assert "resources.gpu needs NVIDIA's container toolkit" in ended.log
    assert left_of(ended.run) == ""


def test_a_user_that_is_asked_for_runs_it(run: Runner) -> None:
    ended = run("import os\ndef f(): return os.getuid(), os.getgid()", container={"user": 1234, "group": 555})
    assert (ended.code, ended.results) == (0, [1234, 555]), ended.log


def test_what_does_not_exist_is_refused_before_anything_is_made(run: Runner) -> None:
    key = "store://default/dataitem/table/data:1"
    with pytest.raises(SourceError, match=r"code_src 'no\.py' does not exist in"):
        run.place(code_src="no.py")
    with pytest.raises(InputsError, match=r"input 'di': 'no\.csv' does not exist"):
        run.place("def f(di): pass", inputs={"di": key}, entities={key: {"kind": "table", "path": "no.csv"}})
    (run.base / "out/outputs").mkdir(parents=True)
    with pytest.raises(OutputsError, match="that no run made"):
        run.place("def f(): pass", output_path=str(run.base / "out"))
    assert not list(Path(run.base).glob(".nuwrap/runs/*"))
