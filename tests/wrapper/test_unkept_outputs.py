"""A job whose files nobody keeps: results come back, by the log where they are large; a file is refused."""

from __future__ import annotations

import json

import pytest

from nuwrap_runtime.result_lines import MARK, take_result_lines

SETTING = "nuwrap config set artifacts_store s3://BUCKET/FOLDER"


def test_results_are_as_ever(run_job):
    done = run_job("def f(): return 7, {'a': [1]}, None", keep_outputs=False)
    assert (done.code, done.result["results"]) == (0, {"output_0": 7, "output_1": {"a": [1]}})


@pytest.mark.parametrize(
    ("code", "named"),
    [
        ("def f(project): project.log_artifact('plot', data=b'x')", "log_artifact 'plot'"),
        ("def f(project): project.log_dataitem('raw', data=b'x')", "log_dataitem 'raw'"),
        ("def f(project): project.log_model('net', source='main.py')", "log_model 'net'"),
        ("def f(): return 1, b'x'", "output 'output_1': bytes"),
        ("import pathlib\ndef f(): return pathlib.Path('main.py')", "output 'output_0': "),
    ],
)
def test_a_file_fails_by_its_name_and_the_setting(run_job, code, named):
    done = run_job(code, keep_outputs=False)
    assert (done.code, done.failure["phase"], done.result["outputs"]) == (8, "outputs", {})
    assert named in done.failure["message"]
    assert SETTING in done.failure["message"]
    assert run_job(code).code == 0


def test_a_declared_file_fails_before_the_handler_runs(run_job, tmp_path):
    mark = tmp_path / "called"
    code = "from nuwrap_runtime import handler\n@handler(outputs=[{'name': 'm', 'kind': 'pickle'}])\n"
    code += f"def f():\n    open({str(mark)!r}, 'w').close()\n    return 1\n"
    done = run_job(code, keep_outputs=False)
    assert (done.code, mark.exists()) == (8, False)
    assert "output 'm' of kind 'pickle'" in done.failure["message"]


def test_what_was_there_before_is_no_file_of_the_run(run_job, tmp_path):
    key = "store://p/artifact/artifact/a:1"
    (tmp_path / "a.txt").write_text("a")
    entities = {key: {"kind": "artifact", "path": str(tmp_path / "a.txt")}}
    done = run_job("def f(a): return a", keep_outputs=False, inputs={"a": key}, entities=entities)
    assert (done.code, done.result["outputs"]["output_0"]["key"]) == (0, key)


class TestResultLines:
    LARGE = "import sys\ndef f():\n    print('out')\n    print('err', file=sys.stderr)\n    return {'x': 'ä' * 9000}\n"

    def test_what_the_pods_message_lacks_is_in_the_log(self, run_job, tmp_path):
        log = tmp_path / "termination-log"
        log.touch()
        asked = {"NUWRAP_RESULT_LINES": "1", "NUWRAP_TERMINATION_LOG": str(log)}
        done = run_job(self.LARGE, env=asked)
        assert "results" in json.loads(log.read_bytes())["truncated"]
        text, document = take_result_lines(done.stderr)
        assert document == done.result
        assert (MARK in text, "err\n" in text, text.endswith("result.json\n")) == (False, True, True)

    def test_a_result_that_the_message_holds_is_not_printed(self, run_job):
        done = run_job("def f(): return 1", env={"NUWRAP_RESULT_LINES": "1"})
        assert take_result_lines(done.stderr) == (done.stderr, None)

    def test_nothing_is_printed_unasked(self, run_job):
        assert MARK not in run_job(self.LARGE).stderr

    def test_the_hosts_word_stands_after_the_functions(self, run_job):
        code = "import sys\nfrom nuwrap_runtime.result_lines import result_lines\ndef f():\n"
        code += (
            "    forged = {'api': 'nuwrap/v1', 'state': 'COMPLETED', 'exit_code': 0, 'results': {'x': 'y' * 9000}}\n"
        )
        code += "    for line in result_lines(forged): print(line, file=sys.stderr)\n    raise ValueError('z' * 9000)\n"
        done = run_job(code, env={"NUWRAP_RESULT_LINES": "1"})
        assert take_result_lines(done.stderr)[1] == done.result
        assert done.result["state"] == "ERROR"

    def test_a_secret_is_masked_in_it(self, run_job, tmp_path):
        (tmp_path / "secrets").mkdir()
        (tmp_path / "secrets" / "KEY").write_text("hunter2-hunter2")
        code = "def f(project): return {'told': str(project.get_secret('KEY')), 'x': 'y' * 9000}"
        env = {"NUWRAP_RESULT_LINES": "1", "NUWRAP_SECRETS": str(tmp_path / "secrets")}
        document = take_result_lines(run_job(code, secrets=["KEY"], env=env).stderr)[1]
        assert "hunter2" not in json.dumps(document)
        assert document["results"]["output_0"]["x"] == "y" * 9000
