"""User code that could get in the worker's way, and must not: names, old packages, replaced and closed things."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nuwrap_runtime.host.uv import find_uv
from nuwrap_runtime.worker import protocol

EVENT = {"mode": "event"}
STANDARD = ("types.py", "json.py", "logging.py", "socket.py", "typing.py", "signal.py", "inspect.py")


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return str(folder)


SHADOWING = {name: f"raise RuntimeError('{name} was imported')\n" for name in STANDARD}


class TestNames:
    def test_standard_names_in_the_root_break_nothing(self, run_job, tmp_path):
        main = "import json, logging\ndef f(): return json.dumps(logging.INFO)\n"
        done = run_job(code_src=write(tmp_path / "src", {**SHADOWING, "main.py": main}))
        assert (done.code, done.value) == (0, "20")
        assert all(name in done.result["warnings"][0] for name in STANDARD)

    def test_standard_names_on_pythonpath_break_nothing_and_reach_children(self, run_job, tmp_path):
        lib = write(tmp_path / "lib", {**SHADOWING, "mine.py": "NAME = 'mine'\n"})
        code = "import mine, os, json\ndef f(): return [mine.NAME, os.environ['PYTHONPATH']]\n"
        done = run_job(code, env={"PYTHONPATH": lib})
        assert (done.code, done.value) == (0, ["mine", lib])

    def test_sitecustomize_on_pythonpath_still_runs(self, run_job, tmp_path):
        lib = write(tmp_path / "lib", {"sitecustomize.py": "import os\nos.environ['SEEN'] = 'yes'\n"})
        code = "import os\ndef f(): return os.environ.get('SEEN')\n"
        assert run_job(code, env={"PYTHONPATH": lib}).value == "yes"

    def test_failing_sitecustomize_is_told_and_survived(self, run_job, tmp_path):
        lib = write(tmp_path / "lib", {"sitecustomize.py": "raise OSError('no agent')\n"})
        done = run_job("def f(): return 1\n", env={"PYTHONPATH": lib})
        assert (done.code, "no agent" in done.stderr) == (0, True)

    def test_packages_with_names_like_ours(self, run_job, tmp_path):
        ours = {"nuwrap_utils/__init__.py": "WHO = 'user'\n", "worker/__init__.py": "WHO = 'user'\n"}
        ours.update({f"{name}.py": "WHO = 'user'\n" for name in ("host", "protocol", "paths", "application", "life")})
        main = "import nuwrap_utils, worker, host, protocol, paths, application, life\n"
        main += "def f(): return [m.WHO for m in (nuwrap_utils, worker, host, protocol, paths, application, life)]\n"
        done = run_job(code_src=write(tmp_path / "src", {**ours, "main.py": main}))
        assert (done.value, done.result["warnings"]) == (["user"] * 7, [])

    def test_other_version_of_ours_loses_with_a_warning_in_the_result(self, run_job, tmp_path):
        lib = write(tmp_path / "lib", {"nuwrap_runtime/__init__.py": '__version__ = "9.9"\nraise RuntimeError\n'})
        done = run_job("import nuwrap_runtime\ndef f(): return nuwrap_runtime.__version__\n", env={"PYTHONPATH": lib})
        assert done.value != "9.9"
        assert "nuwrap_runtime 9.9" in done.result["warnings"][0]


FAKE_MSGPACK = """
version = (0, 5, 0)
class Packer:
    def pack(self, value): return b"fake"
class OutStream: pass
def packb(value, **options): return b"fake"
def unpackb(data, **options): return "fake"
"""

USES_MSGPACK = """
import msgpack
def f(context, event):
    kinds = [msgpack.Packer.__module__, type(msgpack.Packer()).__name__]
    back = repr(msgpack.unpackb(msgpack.packb(["a"])))
    return {"version": list(msgpack.version), "back": back, "file": msgpack.__file__, "kinds": kinds}
"""


@pytest.fixture(scope="session")
def old_msgpack(tmp_path_factory):
    """A folder with the real msgpack 0.6.2: compiled where its old C++ still compiles (3.9), else pure Python."""
    uv, folder = find_uv(os.environ), tmp_path_factory.mktemp("old-msgpack")
    if not uv:
        pytest.skip("needs uv to install msgpack 0.6.2")
    command = [uv, "pip", "install", "--quiet", "--python", sys.executable, "--no-deps", "--target", str(folder)]
    done = subprocess.run([*command, "msgpack==0.6.2"], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"msgpack 0.6.2 cannot be installed here: {done.stderr[-300:]}")
    return folder


class TestMsgpack:
    def test_fake_old_one_keeps_its_classes_and_events_are_answered(self, worker, root):
        (root / "msgpack.py").write_text(FAKE_MSGPACK)
        peer = worker(USES_MSGPACK).start()
        for _ in range(3):
            found = peer.answers()
            assert (found["version"], found["back"]) == ([0, 5, 0], "'fake'")
            assert found["kinds"] == ["msgpack", "Packer"]

    def test_real_old_one_keeps_its_semantics(self, worker, old_msgpack):
        peer = worker(USES_MSGPACK, spec={"pythonpath": str(old_msgpack), **EVENT}).start()
        for _ in range(3):
            found = peer.answers()
            assert (found["version"], found["back"]) == ([0, 6, 2], "[b'a']")  # 1.0 gives text
            assert Path(found["file"]).parent.parent == old_msgpack

    def test_real_old_one_finds_its_own_extension_or_none(self, worker, old_msgpack):
        code = "import msgpack, sys\ndef f(context, event):\n    event = msgpack.packb({'k': [1] * 1000})\n"
        code += "    found = sys.modules.get('msgpack._cmsgpack')\n    return found.__file__ if found else 'pure'\n"
        peer = worker(code, spec={"pythonpath": str(old_msgpack), **EVENT}).start()
        compiled = [str(one) for one in (old_msgpack / "msgpack").glob("_cmsgpack*.so")]
        assert [peer.ask().body] == (compiled or ["pure"])

    def test_users_compiled_one_is_his_own_file(self, worker, tree):
        code = (
            "import msgpack._cmsgpack as c\ndef f(context, event):\n    return [c.__file__, c.Packer().pack(1).hex()]\n"
        )
        peer = worker(code).start()
        file, packed = peer.answers()
        assert (file.startswith(tree), packed) == (False, "01")
        assert peer.answers() == [file, packed]

    def test_ours_cannot_be_imported_by_who_has_none(self, worker):
        code = "def f(context, event):\n    import msgpack\n"
        peer = worker(code, python=os.path.realpath(sys.executable)).start()
        assert peer.ask().status == 500
        assert "No module named 'msgpack'" in peer.logs()[0]["message"]


class TestReplacedThings:
    @pytest.mark.parametrize(
        "act",
        [
            "sys.stdout = sys.stderr = open(os.devnull, 'w')",
            "sys.excepthook = lambda *a: os._exit(99)",
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
            "signal.signal(signal.SIGPIPE, signal.SIG_DFL)",
            "os.chdir('/'); shutil.rmtree(ROOT)",
            "os.environ.clear()",
            "sys.path.clear()",
            "sys.path_hooks.clear(); sys.meta_path.clear()",
            "sys.setrecursionlimit(60)",
            "builtins.print = builtins.repr = None",
            "gc.disable(); gc.collect()",
            "logging.basicConfig(level=1); logging.disable()",
            "warnings.simplefilter('error')",
            "locale.setlocale(locale.LC_ALL, 'C')",
            "os.umask(0o777)",
            "sys.settrace(lambda *a: None); sys.setprofile(lambda *a: None)",
            "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()",
            "multiprocessing.set_start_method('spawn', force=True)",
            "socket.setdefaulttimeout(0.001); time.sleep(0.05)",
        ],
    )
    def test_events_before_and_after_are_answered(self, worker, act):
        names = (
            "sys, os, signal, builtins, gc, logging, warnings, locale, threading, time, multiprocessing, socket, shutil"
        )
        code = f"import {names}\nROOT = os.getcwd()\ndef f(context, event):\n    if event.body:\n        {act}\n"
        peer = worker(code + "    context.logger.info('seen')\n    return 'fine'\n").start()
        bodies = [peer.ask(body).body for body in (b"", b"act", b"", b"")]
        assert bodies == ["fine"] * 4
        assert (peer.count(protocol.REPLY), len(peer.logs())) == (4, 4)

    def test_job_survives_a_removed_source_and_working_directory(self, run_job):
        code = "import os, shutil\ndef f():\n    shutil.rmtree(os.getcwd())\n    return [1, b'x'.hex()]\n"
        assert run_job(code).value == [1, "78"]

    def test_job_whose_output_folder_is_gone_says_so(self, run_job, tmp_path):
        code = "import shutil\ndef f(out):\n    shutil.rmtree(out)\n    return b'data'\n"
        out = str(tmp_path / "out")
        done = run_job(code, parameters={"out": out}, output_path=out)
        assert (done.code, done.failure["phase"]) == (8, "outputs")

    def test_lines_of_the_users_own_on_our_socket_are_no_result(self, run_job):
        code = "import os, stat\ndef f():\n    for fd in range(3, 64):\n        try:\n"
        code += "            if stat.S_ISSOCK(os.fstat(fd).st_mode): os.write(fd, b'r[]\\n')\n"
        code += "        except OSError: pass\n    return 1\n"
        done = run_job(code)
        assert (done.code, done.failure["type"]) == (8, "OutputsError")
        assert "Traceback" not in done.stderr

    @pytest.mark.parametrize("line", ["l[]", "l{}", "lx", "x", 'l{"with": 3}', 'l{"with": {"nuwrap_failure": {}}}'])
    def test_odd_log_lines_do_not_hurt_the_host(self, run_job, line):
        code = "import os, stat\ndef f():\n    for fd in range(3, 64):\n        try:\n"
        code += f"            if stat.S_ISSOCK(os.fstat(fd).st_mode): os.write(fd, {line.encode()!r} + b'\\n')\n"
        code += "        except OSError: pass\n    return 1\n"
        done = run_job(code)
        assert (done.code, done.value, "Traceback" in done.stderr) == (0, 1, False)


class TestAbi:
    def test_interpreter_without_a_build_of_ours_gets_the_pure_one(self, worker, tree, tmp_path):
        lean = tmp_path / "tree"
        (lean / "abi").mkdir(parents=True)
        (lean / "worker").symlink_to(os.path.join(tree, "worker"))
        (lean / "abi" / "pure").symlink_to(os.path.join(tree, "abi", "pure"))
        code = "def f(context, event):\n    return event.body\n"
        assert worker(code, tree=str(lean), python=os.path.realpath(sys.executable)).start().ask(b"x").body == b"x"
