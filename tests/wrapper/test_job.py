"""`nuwrap-host job` with real processes: outcomes, exit codes, the result document, what the worker may see."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from running_job import wait_gone

PR_CAPBSET_DROP, CAP_SYS_PTRACE, CAPABILITIES = 24, 19, 41


class TestDone:
    def test_value_becomes_a_result(self, run_job):
        done = run_job("def f(): return 7")
        assert (done.code, done.result["state"]) == (0, "COMPLETED")
        assert (done.result["results"], done.result["outputs"], done.result["failure"]) == ({"output_0": 7}, {}, None)

    def test_document_says_where_from_on_what_and_how_long(self, run_job):
        done = run_job("def f(): pass", project="p", function="fn", run="r-1")
        assert [done.result[key] for key in ("project", "function", "run")] == ["p", "fn", "r-1"]
        assert done.result["source"]["revision"].startswith("sha256:")
        assert done.result["python"] == sys.executable
        assert {"source", "load", "init", "handler", "outputs", "total"} <= set(done.result["seconds"])
        assert done.result["started"] < done.result["finished"]

    @pytest.mark.parametrize(
        "code",
        [
            "async def f(x): return x * 2",
            "def f(x, y=2): return x * y",
            "class F:\n    def __call__(self, x): return x * 2\nf = F()",
        ],
    )
    def test_parameters_come_by_name(self, run_job, code):
        assert run_job(code, parameters={"x": 3}).value == 6

    def test_four_names_are_injected(self, run_job):
        code = "def f(project, run, context, event):\n    context.logger.info('hi')\n"
        code += "    return [project.name, run.id, context.trigger.kind, event.trigger.kind]\n"
        done = run_job(code, project="p", run="r")
        assert done.value == ["p", "r", "job", "job"]
        assert "[info] hi" in done.stderr

    def test_output_streams_as_it_comes(self, job, tmp_path):
        code = "import time, pathlib\ndef f(mark):\n    print('early')\n    pathlib.Path(mark).write_text('x')\n"
        code += "    while not pathlib.Path(mark + '.go').exists(): time.sleep(0.01)\n"
        running = job(code, parameters={"mark": str(tmp_path / "mark")})
        running.await_file(tmp_path / "mark")
        assert (running.folder / "stdout").read_text() == "early\n"
        (tmp_path / "mark.go").write_text("x")
        assert running.wait().code == 0

    def test_results_are_shown_where_nobody_has_said_where_they_go(self, tree, tmp_path):
        entry = os.path.join(tree, "worker", "nuwrap_runtime", "host", "entry.py")
        plain = {name: value for name, value in os.environ.items() if not name.startswith("NUWRAP_")}
        code = "def f(): return {'a': [1, 'two']}, 'x' * 500\n"
        environ = {**plain, "NUWRAP_CODE": code, "NUWRAP_HANDLER": "f", "NUWRAP_PYTHON": sys.executable}
        environ["NUWRAP_CACHE"] = str(tmp_path / "cache")
        command = [sys.executable, "-I", "-S", entry, "job"]
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert 'output_0 = {"a": [1, "two"]}\n' in done.stderr
        assert 'output_1 = "' + "x" * 199 + "…\n" in done.stderr

    def test_fifty_megabytes_of_output(self, run_job):
        done = run_job("def f():\n    for _ in range(50): print('p' * (1 << 20))\n")
        assert (done.code, len(done.stdout)) == (0, 50 * ((1 << 20) + 1))

    @pytest.mark.parametrize("act", ["sys.stdout.close()", "os.close(1)", "sys.stdout = None", "os.close(2)"])
    def test_closed_streams_do_not_hurt_the_result(self, run_job, act):
        assert run_job(f"import os, sys\ndef f():\n    {act}\n    return 1\n").value == 1

    def test_result_with_half_a_surrogate_pair_is_kept(self, run_job):
        done = run_job("def f(): return '\\udc80'")
        assert done.code in (0, 8)
        assert done.result

    def test_huge_result_is_kept_or_refused_by_name(self, run_job):
        done = run_job("def f(): return 'x' * (200 << 20)")
        assert (done.code, done.failure["phase"]) == (8, "outputs")
        assert "output_0" in done.failure["message"]

    def test_log_with_a_failure_field_is_the_users_own(self, run_job):
        code = "def f(context):\n    context.logger.error_with('x', failure={'a': 1}, nuwrap_failure={'b': 2})\n"
        done = run_job(code)
        assert (done.code, '[error] x  {"failure"' in done.stderr) == (0, True)


class TestExitCodes:
    @pytest.mark.parametrize(
        ("code", "exit_code", "phase", "kind"),
        [
            ("def f(): raise KeyError('x')", 1, "handler", "KeyError"),
            ("def f(): raise KeyboardInterrupt", 1, "handler", "KeyboardInterrupt"),
            ("import asyncio\nasync def f(): raise asyncio.CancelledError", 1, "handler", "CancelledError"),
            ("def f(): return f()", 1, "handler", "RecursionError"),
            ("def f(): raise ValueError", 1, "handler", "ValueError"),
            ("import nope", 5, "load", "ModuleNotFoundError"),
            ("def g(): pass", 5, "load", "LoadError"),
            ("import sys\nsys.exit(0)", 5, "load", "SystemExit"),
            ("def f(): return object()", 8, "outputs", "OutputsError"),
            ("import os\ndef f(): os._exit(0)", 9, "handler", "WorkerExited"),
            ("import os\ndef f(): os._exit(7)", 9, "handler", "WorkerExited"),
            ("import os\nos._exit(3)", 9, "load", "WorkerExited"),
            ("import os\ndef f(): os.kill(os.getpid(), 9)", 137, "handler", "WorkerKilled"),
            ("import os\ndef f(): os.kill(os.getpid(), 15)", 143, "handler", "WorkerKilled"),
            ("import ctypes\ndef f(): ctypes.string_at(0)", 139, "handler", "WorkerKilled"),
            ("import os\ndef f(): os.abort()", 134, "handler", "WorkerKilled"),
            ("import os\ndef f(): os.closerange(3, 999)", 9, "handler", "WorkerExited"),
        ],
    )
    def test_outcome_has_its_code_phase_and_type(self, run_job, code, exit_code, phase, kind):
        done = run_job(code)
        assert (done.code, done.failure["phase"], done.failure["type"].rpartition(".")[2]) == (exit_code, phase, kind)
        assert done.result["state"] == "ERROR"
        assert "Traceback" not in done.stderr or "nuwrap_runtime" not in done.stderr

    @pytest.mark.parametrize(("given", "kept"), [("", 0), ("0", 0), ("3", 3), ("'words'", 1), ("None", 0)])
    def test_exit_of_the_handler_is_kept(self, run_job, given, kept):
        done = run_job(f"import sys\ndef f(): sys.exit({given})")
        assert (done.code, done.failure["type"], done.failure["exit"]) == (1, "SystemExit", kept)

    def test_killed_worker_names_the_signal(self, run_job):
        done = run_job("import os\ndef f(): os.kill(os.getpid(), 9)")
        assert (done.failure["signal"], "ran out of memory" in done.failure["message"]) == ("SIGKILL", True)

    def test_process_that_ends_in_init_did_not_end_while_loading(self, run_job):
        done = run_job("import os\ndef g(context): os._exit(4)\ndef f(): pass", init_function="g")
        assert (done.code, done.failure["phase"], done.failure["exit"]) == (9, "init", 4)

    @pytest.mark.parametrize("program", ["/bin/ls", "/bin/false"])
    def test_program_that_is_no_python_is_the_platforms_fault(self, run_job, program):
        done = run_job("def f(): pass", python=program)
        assert (done.code, done.failure["phase"]) == (10, "platform")
        assert program in done.failure["message"]

    @pytest.mark.parametrize("end", ["os._exit(0)", "time.sleep(600)"])
    def test_what_was_logged_is_kept_without_an_answer(self, run_job, end):
        code = f"import os, time\ndef f(run):\n    run.log_metric('m', 1.5)\n    {end}\n"
        assert run_job(code, timeout_s=1).result["metrics"] == {"m": [1.5]}

    def test_journal_of_the_functions_own_making_is_checked(self, run_job, tmp_path):
        path = tmp_path / "out" / "outputs" / "journal.jsonl"
        lines = '{"output": [1]}\n{"metric": "x", "values": 3}\n'
        done = run_job(
            f"import os\ndef f():\n    open({str(path)!r}, 'w').write({lines!r})\n    os._exit(0)\n",
            output_path=str(tmp_path / "out"),
        )
        assert (done.code, done.result["metrics"]) == (9, {})
        assert "2 lines of the function's journal are none of ours" in done.stderr

    def test_refused_launch_is_told_to_the_platform(self, run_job, tmp_path):
        log = tmp_path / "termination-log"
        log.touch()
        assert run_job("def f(): pass", timeout_s=-1, env={"NUWRAP_TERMINATION_LOG": str(log)}).code == 2
        told = json.loads(log.read_text())
        assert (told["state"], told["failure"]["phase"]) == ("ERROR", "launch")

    def test_work_folder_that_cannot_be_had_has_a_result(self, run_job):
        done = run_job("def f(): pass", env={"NUWRAP_WORK": "/proc/nowhere"})
        assert (done.code, done.failure["phase"]) == (10, "platform")

    def test_init_that_raises_and_init_that_does_not_fit(self, run_job):
        raising = run_job("def g(context): raise OSError('no model')\ndef f(): pass", init_function="g")
        assert (raising.code, raising.failure["phase"], raising.failure["message"]) == (6, "init", "no model")
        missing = run_job("def g(context, k): pass\ndef f(): pass", init_function="g")
        assert (missing.code, "missing: k" in missing.failure["message"]) == (6, True)

    @pytest.mark.parametrize("parameters", [{}, {"z": 1}])
    def test_parameters_that_do_not_fit_stop_the_run_before_the_call(self, run_job, parameters):
        done = run_job("def f(x, y=2): print('called')", parameters=parameters)
        assert (done.code, done.failure["phase"], done.stdout) == (7, "inputs", "")
        assert "expected: x, y=2" in done.failure["message"]

    def test_missing_input_file_is_named(self, run_job):
        key = "store://p/dataitem/table/raw:1"
        entities = {key: {"kind": "table", "path": "/no/such.csv"}}
        done = run_job("def f(di): pass", inputs={"di": key}, entities=entities)
        assert (done.code, "'/no/such.csv'" in done.failure["message"]) == (7, True)

    def test_launch_that_is_not_valid_is_a_usage_error(self, run_job):
        done = run_job("def f(): pass", no_such_key=1)
        assert (done.code, done.result) == (2, {})
        assert "no_such_key: unknown key" in done.stderr

    @pytest.mark.parametrize("handler", ["", "pkg.m.f", "a:b:c", "1x:f", "m:C.f.g", "../m:f"])
    def test_handler_that_cannot_be_one_is_a_usage_error(self, run_job, handler):
        done = run_job("def f(): pass", handler=handler)
        assert (done.code, "handler: " in done.stderr) == (2, True)
        assert ("'pkg.m:f'" in done.stderr) == (handler == "pkg.m.f")

    def test_running_out_of_memory_is_137(self, run_job, memory_group):
        code = "def f():\n    kept = []\n    while True: kept.append(bytes(b'x' * (1 << 20)))\n"
        done = run_job(code, popen={"preexec_fn": memory_group.join})
        assert (done.code, done.failure["signal"]) == (137, "SIGKILL")
        assert "ran out of memory" in done.failure["message"]

    def test_memory_limit_is_the_users_memory_error(self, run_job):
        code = "import resource\ndef f():\n    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        done = run_job(code + "    return len(bytearray(1 << 31))\n")
        assert (done.code, done.failure["type"]) == (1, "MemoryError")

    def test_time_limit_of_the_processor_is_its_signal(self, run_job):
        code = "import resource\ndef f():\n    resource.setrlimit(resource.RLIMIT_CPU, (1, 1))\n    while True: pass\n"
        assert run_job(code).code in (128 + signal.SIGXCPU, 128 + signal.SIGKILL)


class TestFrames:
    def test_frames_start_at_the_users_frame_in_a_relative_file(self, run_job, tmp_path):
        (tmp_path / "src" / "pkg").mkdir(parents=True)
        (tmp_path / "src" / "main.py").write_text("import pkg.m\ndef f():\n    return pkg.m.deep(0)\n")
        (tmp_path / "src" / "pkg" / "m.py").write_text("def deep(x):\n    return 1 / x\n")
        done = run_job(code_src=str(tmp_path / "src"))
        assert done.failure["frames"] == [
            {"file": "main.py", "line": 3, "function": "f", "code": "return pkg.m.deep(0)"},
            {"file": "pkg/m.py", "line": 2, "function": "deep", "code": "return 1 / x"},
        ]
        assert "nuwrap_runtime" not in done.stderr

    def test_endless_recursion_keeps_both_ends(self, run_job):
        frames = run_job("def f():\n    return g(0)\ndef g(n):\n    return g(n + 1)\n").failure["frames"]
        assert (frames[0]["function"], frames[1]["function"], len(frames)) == ("f", "g", 40)

    def test_error_of_ours_inside_the_users_code_shows_his_line(self, run_job):
        done = run_job("def f(project):\n    return project.get_dataitem('nope')\n")
        assert (done.code, done.failure["frames"][0]["line"]) == (7, 2)


SLEEP = """
import pathlib, subprocess, sys, time, os, signal
def mark(text="x"):
    pathlib.Path("MARK").write_text(text)
"""


@pytest.fixture
def long_job(job, tmp_path):
    """Start a job and wait until its function has called `mark`."""

    def start(code, **keys):
        running = job(SLEEP.replace("MARK", str(tmp_path / "mark")) + code, **keys)
        return running, running.await_file(tmp_path / "mark")

    return start


CHILD = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])"


class TestStop:
    def test_stop_runs_the_functions_finally_blocks(self, long_job):
        code = "def f():\n    try:\n        mark(); time.sleep(600)\n    finally:\n        print('tidied')\n"
        running, _ = long_job(code)
        running.process.send_signal(signal.SIGTERM)
        done = running.wait()
        assert (done.code, done.result["state"], done.stdout) == (143, "STOPPED", "tidied\n")
        assert done.failure["phase"] == "stopped"

    def test_stop_cancels_an_async_function(self, long_job):
        code = "import asyncio\nasync def f(context):\n    try:\n        mark(); await asyncio.sleep(600)\n"
        code += "    except asyncio.CancelledError:\n        context.logger.info('cancelled'); raise\n"
        running, _ = long_job(code)
        running.process.send_signal(signal.SIGTERM)
        done = running.wait()
        assert (done.code, "[info] cancelled" in done.stderr) == (143, True)

    @pytest.mark.parametrize("place", ["mark(); time.sleep(600)", "def g(context):\n    mark(); time.sleep(600)"])
    def test_stop_while_loading_or_in_init(self, long_job, place):
        keys = {"init_function": "g"} if "def g" in place else {}
        running, _ = long_job(place + "\ndef f(): pass\n", **keys)
        running.process.send_signal(signal.SIGTERM)
        assert running.wait().code == 143

    def test_function_that_ignores_the_stop_is_killed_after_the_grace_with_its_children(self, long_job):
        code = f"def f():\n    child = {CHILD}\n    signal.signal(15, signal.SIG_IGN)\n    mark(str(child.pid))\n"
        running, child = long_job(code + "    while True: time.sleep(1)\n", grace_s=0.2)
        running.process.send_signal(signal.SIGTERM)
        assert running.wait().code == 143
        wait_gone(int(child))

    def test_stop_that_another_thread_takes_reaches_the_function_too(self, long_job):
        code = "import threading\ndef f():\n    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
        code += (
            "    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # so the kernel gives it to the thread\n"
        )
        code += "    try:\n        mark(); time.sleep(600)\n    finally:\n        print('tidied')\n"
        running, _ = long_job(code, grace_s=500)
        running.process.send_signal(signal.SIGTERM)
        assert (running.wait().code, (running.folder / "stdout").read_text()) == (143, "tidied\n")

    def test_function_that_answers_a_stop_is_not_waited_for(self, long_job):
        code = "def f():\n    mark()\n    try:\n        time.sleep(600)\n    except BaseException:\n        return 5\n"
        running, _ = long_job(code, grace_s=500)
        running.process.send_signal(signal.SIGTERM)
        assert running.wait().code == 143  # and not after the grace, which the test's own limit would not outlast

    def test_signal_of_the_functions_own_is_no_stop(self, run_job):
        done = run_job("import os, signal\ndef f(): os.kill(os.getpid(), signal.SIGTERM)")
        assert (done.code, done.result["state"], done.failure["signal"]) == (143, "ERROR", "SIGTERM")

    def test_second_stop_is_not_waited_for(self, long_job):
        code = "def f():\n    signal.signal(15, signal.SIG_IGN); mark()\n    while True: time.sleep(1)\n"
        running, _ = long_job(code, grace_s=500)
        running.process.send_signal(signal.SIGTERM)
        while "stopping" not in (running.folder / "stderr").read_text():
            assert running.process.poll() is None
        running.process.send_signal(signal.SIGTERM)
        assert running.wait().code == 143

    def test_children_of_a_function_that_is_done_are_gone(self, run_job):
        done = run_job(f"import subprocess, sys\ndef f(): return {CHILD}.pid")
        assert done.code == 0
        wait_gone(done.value)

    def test_timeout_runs_finally_blocks_and_ends_with_124(self, run_job):
        code = "import time\ndef f():\n    try:\n        time.sleep(600)\n    finally:\n        print('tidied')\n"
        done = run_job(code, timeout_s=0.3)
        assert (done.code, done.result["state"], done.stdout) == (124, "ERROR", "tidied\n")
        assert "0.3 s (timeout_s)" in done.failure["message"]

    def test_thread_left_running_ends_within_the_grace(self, run_job):
        code = "import threading, time\ndef f():\n    threading.Thread(target=time.sleep, args=(600,)).start()\n"
        assert run_job(code + "    return 1\n", grace_s=0.2).value == 1

    def test_thread_that_ends_is_waited_for_and_may_log(self, run_job):
        code = "import threading, time\ndef f(context):\n    def late():\n        time.sleep(0.2)\n"
        code += "        context.logger.info('late'); print('done')\n    threading.Thread(target=late).start()\n"
        done = run_job(code)
        assert (done.code, done.stdout, "[info] late" in done.stderr) == (0, "done\n", True)

    def test_child_that_the_function_terminates_is_gone_at_once(self, run_job):
        code = "import hashlib, multiprocessing\ndef busy():\n"
        code += "    hashlib.pbkdf2_hmac('sha256', b'x', b'y', 1 << 30)  # in C, where no handler of Python's runs\n"
        code += "def f():\n    child = multiprocessing.get_context('fork').Process(target=busy)\n    child.start()\n"
        code += "    child.terminate()\n    child.join()\n    return child.exitcode\n"
        assert run_job(code).value == -15

    def test_function_that_closes_its_connection_and_goes_on_is_ended(self, run_job):
        code = "import os, time\ndef f():\n    os.closerange(3, 999)\n    time.sleep(600)\n"
        done = run_job(code)
        assert (done.code, done.failure["type"]) == (9, "WorkerLost")


class TestCheck:
    def test_signature_is_printed_and_nothing_called(self, run_job):
        code = "def g(context, k): raise OSError\ndef f(di, threshold: float = 0.5): raise OSError\nprint('loaded')\n"
        done = run_job(code, command="check", init_function="g")
        found = json.loads(done.stdout)
        assert (done.code, [one["name"] for one in found["parameters"]]) == (0, ["di", "threshold"])
        assert "loaded" in done.stderr

    def test_what_cannot_be_loaded_ends_as_a_job_would(self, run_job):
        done = run_job("def g(): pass", command="check")
        assert (done.code, done.stdout) == (5, "")
        assert "'f' not found in main.py; it defines: g" in done.stderr

    def test_init_function_is_looked_for_too(self, run_job):
        assert run_job("def f(): pass", command="check", init_function="nope").code == 5


class TestDisturbedOutputs:
    """The function has the run's folder before it; what it leaves there must not hurt the result."""

    @pytest.mark.parametrize(
        "act",
        [
            "os.mkfifo(OUT + '/.result.json-x')",
            "os.mkfifo(OUT + '/result.json.part')",
            "os.symlink('/etc/hosts', OUT + '/result.json')",
        ],
    )
    def test_result_is_written_past_what_lies_in_its_way(self, run_job, tmp_path, act):
        out = str(tmp_path / "out")
        done = run_job(f"import os\nOUT = {out!r}\ndef f():\n    {act}\n    return 1\n", output_path=out)
        assert (done.code, done.value, (tmp_path / "out" / "result.json").is_symlink()) == (0, 1, False)

    def test_run_without_a_result_document_is_no_success(self, run_job, tmp_path):
        out = tmp_path / "out"
        done = run_job(
            f"import os\ndef f():\n    os.makedirs({str(out / 'result.json' / 'x')!r})\n", output_path=str(out)
        )
        assert (done.code, "the result cannot be written" in done.stderr) == (10, True)
        assert [path.name for path in out.iterdir() if path.name.startswith(".result")] == []

    @pytest.mark.parametrize("act", ["os.unlink(path)", "os.unlink(path); os.symlink('/etc/hosts', path)"])
    def test_output_that_is_taken_away_is_an_error_that_names_it(self, run_job, tmp_path, act):
        path = str(tmp_path / "out" / "outputs" / "000.bin")
        code = f"import atexit, os, threading, time\ndef later():\n    path = {path!r}\n"
        code += "    while not os.path.exists(path): time.sleep(0.001)\n"
        code += f"    {act}\ndef f():\n    threading.Thread(target=later).start()\n    return b'x'\n"
        done = run_job(code, output_path=str(tmp_path / "out"))
        assert (done.code, done.failure["phase"], done.result["outputs"]) == (8, "outputs", {})
        assert "output_0" in done.failure["message"]

    @pytest.mark.parametrize("line", ["s" + "[" * 50000, "l" + "[" * 50000, "r" + "[" * 50000, 's{"load": NaN}'])
    def test_lines_that_are_none_end_with_a_result(self, run_job, line):
        code = "import os, socket\ndef g(context):\n    for fd in os.listdir('/proc/self/fd'):\n        try:\n"
        code += "            peer = socket.socket(fileno=os.dup(int(fd)))\n"
        code += "            if peer.getpeername().endswith('/e'): peer.sendall(LINE)\n        except OSError: pass\n"
        code = f"LINE = {line!r}.encode() + bytes([10])\n" + code + "def f(): return 1\n"
        done = run_job(code, init_function="g")
        assert done.result["exit_code"] == done.code

    def test_secret_that_is_a_word_of_the_document_leaves_it_valid(self, run_job):
        for word in ("COMPLETED", "outputs", "nuwrap", "api"):
            done = run_job("def f(): return b'x'", secrets=["S"], env={"S": word})
            assert (done.code, done.result["state"], done.result["outputs"]["output_0"]["path"]) == (
                0,
                "COMPLETED",
                "outputs/000.bin",
            )

    def test_daemon_of_the_function_does_not_outlive_the_run(self, run_job):
        if not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
            pytest.skip("needs Linux with CONFIG_PROC_CHILDREN")
        code = "import subprocess, sys\ndef f():\n    code = 'import os, time; print(os.getpid(), flush=True);"
        code += " time.sleep(600)'\n"
        code += "    child = subprocess.Popen([sys.executable, '-c', code], stdout=-1, start_new_session=True)\n"
        code += "    return int(child.stdout.readline())\n"
        wait_gone(run_job(code).value)


class TestOutputFolder:
    def test_second_start_of_the_same_run_takes_the_place_of_the_first(self, run_job, tmp_path):
        out = str(tmp_path / "out")
        first = run_job("def f(): return b'1'", run="r1", output_path=out)
        file = tmp_path / "out" / first.result["outputs"]["output_0"]["path"]
        assert file.read_bytes() == b"1"
        second = run_job("def f(): return 2", run="r1", output_path=out)
        assert (second.code, second.result["outputs"], second.value, file.exists()) == (0, {}, 2, False)

    def test_start_of_another_run_there_is_refused_and_changes_nothing(self, job, run_job, tmp_path):
        out = tmp_path / "out"
        run_job("def f(): return b'1'", run="r1", output_path=str(out))
        before = (out / "result.json").read_text()
        other = job("def f(): return 2", run="r2", output_path=str(out))
        assert other.process.wait(60) == 8
        assert "of run 'r1'; name a folder of its own" in (other.folder / "stderr").read_text()
        assert (out / "result.json").read_text() == before

    def test_folder_outputs_that_no_run_made_is_refused(self, run_job, tmp_path):
        mine = tmp_path / "out" / "outputs" / "mine.txt"
        mine.parent.mkdir(parents=True)
        mine.write_text("precious")
        done = run_job("def f(): return 2", output_path=str(tmp_path / "out"))
        assert (done.code, "that no run made" in done.stderr, mine.read_text()) == (8, True, "precious")


SECRETS = {
    "GIT_TOKEN": "git-token-value",
    "GIT_PASSWORD": "git-password-value",
    "NUWRAP_SOURCE_AWS_SECRET_ACCESS_KEY": "source-aws-value",
    "AWS_SECRET_ACCESS_KEY": "plain-aws-value",
    "MY_SECRET": "my-secret-value",
}


class TestSecrets:
    def test_fetching_credentials_do_not_reach_the_function(self, run_job):
        done = run_job("import os\ndef f(): return sorted(os.environ)", env=SECRETS)
        assert [name for name in done.value if name in SECRETS] == ["AWS_SECRET_ACCESS_KEY", "MY_SECRET"]
        assert not [name for name in done.value if name.startswith("NUWRAP_SOURCE_")]

    def test_values_are_masked_in_logs_and_result(self, run_job):
        code = "import os\ndef f(context):\n"
        code += "    value = os.environ['MY_SECRET'] + ' ' + os.environ['AWS_SECRET_ACCESS_KEY']\n"
        code += "    context.logger.info('it is ' + value)\n    raise ValueError(value)\n"
        done = run_job(code, secrets=["MY_SECRET"], env=SECRETS)
        assert done.failure["message"] == "*** ***"
        assert "[info] it is *** ***" in done.stderr
        assert "value" not in json.dumps(done.result["failure"]["message"])

    def test_secret_is_read_by_name_and_masked_as_a_result(self, run_job, tmp_path):
        (tmp_path / "secrets").mkdir()
        (tmp_path / "secrets" / "DB").write_text("file-secret-value")
        code = "def f(project): return [project.get_secret('DB'), len(project.get_secret('DB'))]"
        done = run_job(code, secrets=["DB"], env={"NUWRAP_SECRETS": str(tmp_path / "secrets")})
        assert done.value == ["***", 17]

    def test_secret_is_a_variable_unless_there_is_one_of_its_name(self, run_job, tmp_path):
        for name in ("DB", "TAKEN", "no-variable"):
            (tmp_path / name).write_text(f"secret-of-{name}")
        code = "import os\ndef f(): return [len(os.environ.get(one, '')) for one in ('DB', 'TAKEN', 'no-variable')]"
        env = {"NUWRAP_SECRETS": str(tmp_path), "TAKEN": "x"}
        assert run_job(code, secrets=["DB", "TAKEN", "no-variable"], env=env).value == [12, 1, 0]

    def test_function_cannot_read_the_hosts_environment(self, run_job):
        if not sys.platform.startswith("linux"):
            pytest.skip("needs Linux: there is no /proc here")
        code = "import os\ndef f():\n    try:\n        return open(f'/proc/{os.getppid()}/environ').read()\n"
        code += "    except PermissionError:\n        return 'denied'\n"
        done = run_job(code, env=SECRETS, popen={"preexec_fn": drop_capabilities})
        assert done.value == "denied"


def drop_capabilities():
    """As root: become a root that may do no more than any other user with its own processes (from the next exec on)."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    for number in range(CAPABILITIES if os.geteuid() == 0 else 0):
        failed = library.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) != 0
        if failed and number == CAP_SYS_PTRACE:
            raise OSError(ctypes.get_errno(), "this root may not drop CAP_SYS_PTRACE, so the test would say nothing")
