"""Jobs through the SDK, each a real run: what a function gets, what it gives back, how it fails."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from sdk_functions import completed, make, run

from nuwrap.errors import NotFound, RunFailed, SpecError, StoreError, UsageError

SEVEN = "def f():\n    return 7\n"


def test_what_a_function_returns_is_the_runs_result(dh: Any) -> None:
    done = completed(dh, SEVEN)
    assert (done.results(), done.result("output_0"), done.result("zz")) == ({"output_0": 7}, 7, None)
    assert (done.outputs(), done.output("zz"), done.metrics()) == ({}, None, {})
    assert (done.status.state, done.status.exit_code, done.status.message) == ("COMPLETED", 0, "")
    assert done.folder == str(Path.cwd() / ".nuwrap" / "runs" / done.id)
    assert done.key == f"store://p/run/python+job:run/{done.id}"
    assert dh.get_run(done.id[:8]).results() == dh.get_run(done.key, project="p").results() == {"output_0": 7}


def test_named_outputs_are_results_and_entities(dh: Any) -> None:
    code = (
        "import pandas\nfrom nuwrap import handler\n@handler(outputs=['a', 'b'])\n"
        "def f(run):\n    run.log_metric('rows', [1, 2])\n    return 'x', pandas.DataFrame({'n': [1, 2]})\n"
    )
    done = completed(dh, code, python=sys.executable)
    assert done.results() == {"a": "x"}
    assert done.metrics() == {"rows": [1, 2]}
    table = done.output("b")
    assert table.as_df().to_dict("list") == {"n": [1, 2]}
    assert done.output("b", as_key=True) == table.key == f"store://p/dataitem/table/b:{table.id}"
    assert done.output("b", as_dict=True)["key"] == table.key
    assert dh.get_dataitem("b", "p").key == table.key
    assert [(one.relation, one.run) for one in table.lineage()] == [("produces", done.id)]
    assert [(one.relation, one.name, one.key) for one in done.lineage()] == [("produces", "b", table.key)]
    with pytest.raises(UsageError, match="as_key and as_dict are both given"):
        done.outputs(as_key=True, as_dict=True)


def test_names_and_values_may_differ_in_number(dh: Any) -> None:
    code = "from nuwrap import handler\n@handler(outputs=['a', 'b'])\ndef more():\n    return 1, 2, 3\n"
    code += "@handler(outputs=['a', 'b', 'c'])\ndef less():\n    return 1, 2\n"
    more = completed(dh, code, "more")
    assert more.results() == {"a": 1, "b": 2, "output_2": 3}
    told = "the function returned 3 values, @handler names 2 outputs"
    assert more.status.warnings == [told]
    assert told in more.logs()
    assert completed(dh, code, "less").results() == {"a": 1, "b": 2}


def test_code_may_be_base64(dh: Any) -> None:
    done = make(dh, base64=base64.b64encode(SEVEN.encode()).decode()).run("job", local_execution=True)
    assert done.results() == {"output_0": 7}


def test_a_local_file_is_found_from_where_the_function_was_made(dh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("src").mkdir()
    Path("src/fn.py").write_text("def f():\n    return __name__\n")
    function = make(dh, code_src="src/fn.py")
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    done = function.run("job", local_execution=True)
    assert done.results() == {"output_0": "src.fn"}, done.logs()
    assert done.folder.startswith(os.getcwd())


def test_a_folders_modules_see_each_other(dh: Any) -> None:
    Path("src/pkg").mkdir(parents=True)
    for name, text in {
        "pkg/__init__.py": "",
        "pkg/m.py": "import helper\ndef f(x):\n    return helper.twice(x)\n",
        "helper.py": "def twice(x):\n    return 2 * x\n",
    }.items():
        Path("src", name).write_text(text)
    done = make(dh, code_src="src", handler="pkg.m:f").run("job", parameters={"x": 4}, local_execution=True)
    assert done.results() == {"output_0": 8}, done.logs()


def test_git_sources_are_checked_out_at_branch_tag_and_commit(dh: Any) -> None:
    def git(*arguments: str) -> str:
        options = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main"]
        command = ["git", *options, *arguments]
        return subprocess.run(command, cwd="repo", check=True, capture_output=True, text=True).stdout.strip()

    Path("repo").mkdir()
    git("init", "-q")
    commits = []
    for number in (1, 2):
        Path("repo/main.py").write_text(f"def f():\n    return {number}\n")
        git("add", ".")
        git("commit", "-q", "-m", str(number))
        commits.append(git("rev-parse", "HEAD"))
        git("tag", f"v{number}")
    for ref, expected in {"v1": 1, "main": 2, commits[0]: 1}.items():
        done = make(dh, code_src=f"git+file://{Path.cwd()}/repo#{ref}").run("job", local_execution=True)
        assert done.results() == {"output_0": expected}, done.logs()
    lost = make(dh, code_src=f"git+file://{Path.cwd()}/repo#nope").run("job", local_execution=True)
    assert (lost.state, lost.status.exit_code) == ("ERROR", 3)
    assert "'nope'" in lost.status.message


@pytest.fixture
def web() -> Iterator[str]:
    """The current folder, served over HTTP."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=os.getcwd())) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_http_sources_are_files_and_archives(dh: Any, web: str) -> None:
    Path("code").mkdir()
    Path("code/fn.py").write_text(SEVEN)
    shutil.make_archive("code", "zip", "code")
    for code_src, handler in ((f"{web}/code/fn.py", "f"), (f"zip+{web}/code.zip", "fn:f")):
        done = make(dh, code_src=code_src, handler=handler).run("job", local_execution=True)
        assert done.results() == {"output_0": 7}, done.logs()
    lost = make(dh, code_src=f"{web}/nope.py").run("job", local_execution=True)
    assert (lost.state, lost.status.exit_code) == ("ERROR", 3)
    assert "404" in lost.status.message


@pytest.mark.parametrize(
    ("fields", "messages"),
    [
        ({"handler": ""}, ["handler: is empty"]),
        ({"handler": "pkg.m.f"}, ["did you mean 'pkg.m:f'?"]),
        ({"handler": "a:b:c"}, ["handler: 'a:b:c' has not the right form"]),
        ({"handler": "1x:f"}, ["handler: '1x:f' has not the right form"]),
        ({"base64": "@@@", "code": None}, ["base64: '@@@' is not base64"]),
        ({"base64": "ZGVm"}, ["code and base64 are both given"]),
        ({"code": None, "code_src": "nope.py"}, ["code_src: 'nope.py' does not exist", "below the current folder"]),
        ({"code": None, "code_src": "../fn.py"}, ["'..' is refused in '../fn.py'"]),
        ({"code": None, "code_src": "/fn.py"}, ["'/fn.py' is absolute"]),
        (
            {"handler": None, "code": None, "python_version": "3.10", "foo": 1},
            ["handler: is missing", "no source is given", "did you mean PYTHON3_10?", "foo: unknown"],
        ),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_a_function_that_is_not_valid_is_not_made(dh: Any, fields: dict[str, Any], messages: list[str]) -> None:
    with pytest.raises(ValueError, match="is not valid") as raised:
        make(dh, **{"code": SEVEN, **fields})
    assert isinstance(raised.value, SpecError)
    assert [one for one in messages if one not in str(raised.value)] == []
    assert dh.list_projects() == []


@pytest.mark.parametrize(("handler", "found"), [("main:nope", "nope"), ("main:x", "x")])
def test_a_handler_that_is_not_there_ends_the_run(dh: Any, handler: str, found: str) -> None:
    lost = run(dh, "x = 1\n" + SEVEN, handler)
    assert (lost.state, lost.status.exit_code) == ("ERROR", 5)
    assert repr(found) in lost.status.message


def test_parameters_are_the_handlers_arguments(dh: Any) -> None:
    code = "def f(x, y=2):\n    return x * y\n"
    assert completed(dh, code, parameters={"x": 3}).results() == {"output_0": 6}
    for parameters in ({"z": 1}, {}):
        lost = run(dh, code, parameters=parameters)
        assert (lost.state, lost.status.exit_code) == ("ERROR", 7)
        assert "x" in lost.status.message


def test_inputs_are_objects_by_key_entity_or_path(dh: Any) -> None:
    Path("raw.csv").write_text("a\n1\n")
    raw = dh.log_dataitem("p", "raw", source="raw.csv")
    code = "def f(di):\n    return di.name, hasattr(di, 'as_df'), open(di.as_file()).read()\n"
    for value in (raw.key, raw, "store://p/dataitem/table/raw"):
        done = completed(dh, code, inputs={"di": value})
        assert done.results() == {"output_0": "raw", "output_1": True, "output_2": "a\n1\n"}
        assert done.inputs(as_key=True) == {"di": raw.key}
    assert completed(dh, code, inputs={"di": "raw.csv"}).result("output_2") == "a\n1\n"


def test_inputs_that_mean_nothing_start_nothing(dh: Any) -> None:
    function = make(dh, "def f(di):\n    return di\n")
    with pytest.raises(UsageError, match=r"di.*'abc'.*store://project/dataitem"):
        function.run("job", inputs={"di": "abc"})
    with pytest.raises(UsageError, match=r"store://p/dataitem/table/nope"):
        function.run("job", inputs={"di": "store://p/dataitem/table/nope"})
    with pytest.raises(SpecError, match=r"inputs\.di: is in parameters too"):
        function.run("job", inputs={"di": "x"}, parameters={"di": 1})
    assert dh.list_runs() == []
    assert not Path(".nuwrap/runs").exists()


def test_the_injected_names_are_there(dh: Any) -> None:
    code = (
        "def f(project, run, context, event):\n"
        "    context.logger.info('a line for the log')\n"
        "    return project.name, run.id, event is not None\n"
    )
    done = completed(dh, code)
    assert done.results() == {"output_0": "p", "output_1": done.id, "output_2": True}
    assert "a line for the log" in done.logs()


def test_what_init_sets_the_handler_sees(dh: Any) -> None:
    code = "value = None\ndef init(context, k):\n    global value\n    value = k\ndef f():\n    return value\n"
    function = make(dh, code, init_function="init")
    assert function.run("job", init_parameters={"k": 42}, local_execution=True).results() == {"output_0": 42}
    lost = function.run("job", local_execution=True, log_info=False)
    assert (lost.state, lost.status.exit_code) == ("ERROR", 6)
    assert "k" in lost.status.message


@pytest.mark.parametrize(
    ("returned", "results"),
    [
        ("None", {}),
        ('{"a": [1, None]}', {"output_0": {"a": [1, None]}}),
        ("[1, 2, 3]", {"output_0": [1, 2, 3]}),
        ("1, None, 3", {"output_0": 1, "output_2": 3}),
    ],
)
def test_values_become_results(dh: Any, returned: str, results: dict[str, Any]) -> None:
    assert completed(dh, f"def f():\n    return {returned}\n").results() == results


def test_an_object_that_is_no_value_is_an_error_that_says_how_to_return_it(dh: Any) -> None:
    lost = run(dh, "def f():\n    return object()\n")
    assert (lost.state, lost.status.exit_code) == ("ERROR", 8)
    assert "output_0" in lost.status.message


def test_a_failed_run_tells_its_reason_and_raises_when_asked(dh: Any, capsys: pytest.CaptureFixture[str]) -> None:
    function = make(dh, "def f():\n    print('before')\n    return 1 / 0\n")
    lost = function.run("job", local_execution=True)
    err = capsys.readouterr().err
    assert f"nuwrap: run {lost.id[:8]} of 'fn': ERROR: " in err
    assert "ZeroDivisionError" in err
    assert (lost.state, lost.status.exit_code) == ("ERROR", 1)
    assert "ZeroDivisionError" in lost.status.message
    assert "before" in lost.logs()
    with pytest.raises(RunFailed, match="ZeroDivisionError"):
        lost.wait(raise_on_error=True)


def test_a_job_goes_on_while_the_caller_does_and_is_stopped(dh: Any, capsys: pytest.CaptureFixture[str]) -> None:
    began = make(dh, "import time\ndef f():\n    print('begun', flush=True)\n    time.sleep(60)\n").run("job")
    assert began.state in ("PENDING", "RUNNING")
    with pytest.raises(TimeoutError, match=r"has not ended after 0\.1 s; it goes on"):
        began.wait(0.1)
    with pytest.raises(StoreError, match="stop"):
        began.delete()
    assert began.stop().state == "STOPPED"
    began.logs(follow=True)
    assert capsys.readouterr().out == began.logs()
    began.delete()
    with pytest.raises(NotFound, match="there is no run"):
        dh.get_run(began.id)


def test_a_resumed_run_replaces_what_it_left(dh: Any) -> None:
    Path("count").write_text("1")
    code = f"def f():\n    return int(open({str(Path('count').absolute())!r}).read())\n"
    first = completed(dh, code)
    Path("count").write_text("2")
    again = first.resume().wait()
    assert (again.id, again.state, again.results()) == (first.id, "COMPLETED", {"output_0": 2})
    assert dh.get_run(first.id).status.attempt == 2


def test_secrets_reach_the_function_and_not_the_log(dh: Any) -> None:
    dh.new_secret("p", "API_KEY", "correct horse battery")
    code = (
        "import os\ndef f(project):\n    print(os.environ['API_KEY'])\n    return len(project.get_secret('API_KEY'))\n"
    )
    done = completed(dh, code, secrets=["API_KEY"])
    assert done.results() == {"output_0": 21}
    assert "***" in done.logs()
    left = [path for path in Path(".").rglob("*") if path.is_file() and b"correct horse" in path.read_bytes()]
    assert left == []
    with pytest.raises(NotFound, match="NOPE"):
        make(dh, code).run("job", secrets=["NOPE"])


def test_runs_are_listed_by_function_and_state(dh: Any) -> None:
    good, bad = completed(dh, SEVEN), run(dh, "def f():\n    return 1 / 0\n")
    project = dh.get_project("p")
    assert [one.id for one in project.list_runs()] == [bad.id, good.id]
    assert [one.results() for one in project.list_runs(states=["COMPLETED"])] == [{"output_0": 7}]
    assert [one.id for one in dh.list_runs(function="fn", limit=1)] == [bad.id]
    assert project.run("fn", "job", local_execution=True, log_info=False).state == "ERROR"
    with pytest.raises(UsageError, match="state 'RUNING': is none; did you mean 'RUNNING'"):
        dh.list_runs(states="RUNING")


def test_a_run_shows_itself(dh: Any) -> None:
    done = completed(dh, "def f():\n    return '<b>bold</b>'\n")
    assert repr(done).startswith(f"<Run {done.id[:8]}: job p/fn COMPLETED, ")
    html = done._repr_html_()
    assert "&lt;b&gt;bold&lt;/b&gt;" in html
    assert "<b>" not in html


def test_run_values_that_are_not_valid_start_nothing(dh: Any) -> None:
    function = make(dh, SEVEN)
    for values, message in (
        ({"action": "jobs"}, "action: 'jobs' is none of these; did you mean 'job'"),
        ({}, "action: is missing"),
        ({"action": "job", "replicas": 2}, "replicas: belongs to action serve; this is job"),
        ({"action": "job", "foo": 1}, "foo: unknown field"),
        ({"action": "job", "requirements": ["x"]}, "requirements: belongs to the function"),
        ({"action": "serve", "replicas": 0}, "replicas: 0"),
        ({"action": "serve", "service_type": "ExternalName"}, "service_type: 'ExternalName' is none of these"),
    ):
        with pytest.raises(SpecError) as raised:
            function.run(**values)
        assert message in str(raised.value)
    with pytest.raises(UsageError, match=r"wait: \{'x': 1\} is not true or false; all else goes by name"):
        function.run("job", {"x": 1})
    assert dh.list_runs() == []
