"""From a handler's text to the function: forms, once per worker, and what is said when it is not there."""

from __future__ import annotations

import pickle

import pytest
from scripted_processor import WorkerGone

from nuwrap_runtime.errors import LoadError
from nuwrap_runtime.worker import loader, protocol

BODY = "def f(context, event):\n    return 'found'\n"
EVENT = {"mode": "event"}


@pytest.fixture
def fails(worker):
    """Start a worker that cannot load its handler; return it and the failure that it told."""

    def start(code, **options):
        peer = worker(code, **options).accept()
        with pytest.raises(WorkerGone) as gone:
            peer.wait(protocol.START)
        failure = peer.logs()[-1]["with"]["nuwrap_failure"]
        assert (gone.value.code, failure["phase"]) == (5, "load")
        return peer, failure

    return start


class TestForms:
    @pytest.mark.parametrize("file", ["fn.py", "src/fn.py", "my-fn.py", "my-dir/sub-dir/my-fn.py", "pkg/__init__.py"])
    def test_module_is_found_under_its_path(self, worker, root, file):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(BODY)
        module = file[:-3].replace("/__init__", "").replace("/", ".")
        assert worker(handler=f"{module}:f").start().ask().body == "found"

    def test_bare_name_is_looked_for_in_the_default_module(self, worker, root):
        (root / "src").mkdir()
        (root / "src" / "fn.py").write_text(BODY)
        assert worker(handler="f", spec={"default_module": "src.fn", **EVENT}).start().ask().body == "found"

    @pytest.mark.parametrize("method", ["plain", "static", "of_class", "inherited"])
    def test_method_of_a_class(self, worker, method):
        code = """
made = []
class Base:
    def inherited(self, context, event): return len(made)
class Model(Base):
    def __init__(self, size=3): made.append(self); self.size = size
    def plain(self, context, event): return len(made)
    @staticmethod
    def static(context, event): return len(made)
    @classmethod
    def of_class(cls, context, event): return len(made)
"""
        peer = worker(code, handler=f"main:Model.{method}").start()
        wanted = str(int(method in ("plain", "inherited")))
        assert [peer.ask().body, peer.ask().body] == [wanted, wanted]

    def test_object_that_can_be_called(self, worker):
        code = "class Greet:\n    def __call__(self, context, event):\n        return 'hello'\ngreet = Greet()\n"
        assert worker(code, handler="main:greet").start().ask().body == "hello"

    def test_method_of_an_object(self, worker):
        code = "class Greet:\n    def now(self, context, event):\n        return 'hello'\ngreet = Greet()\n"
        assert worker(code, handler="main:greet.now").start().ask().body == "hello"

    def test_function_of_another_module_that_the_module_imports(self, worker, root):
        (root / "helper.py").write_text(BODY)
        assert worker("from helper import f\n").start().ask().body == "found"

    def test_check_makes_no_instance(self, worker):
        code = "class Model:\n    def __init__(self): raise RuntimeError('made')\n    def run(self, x, y=2): pass\n"
        found = worker(code, handler="main:Model.run", spec={"mode": "check"}).start().answers()
        assert [one["name"] for one in found["parameters"]] == ["x", "y"]


class TestOnce:
    def test_module_is_executed_once_for_init_and_all_events(self, worker, root):
        code = "open('count', 'a').write('x')\nstate = []\ndef setup(context):\n    state.append(1)\n"
        code += "def f(context, event):\n    return state\n"
        peer = worker(code, spec={"init_function": "main:setup", **EVENT}).start()
        assert [peer.answers(), peer.answers()] == [[1], [1]]
        assert (root / "count").read_text() == "x"

    def test_users_class_survives_pickle(self, worker):
        code = "import pickle\nclass Point:\n    x = 1\ndef f(context, event):\n    return pickle.dumps(Point())\n"
        assert b"main" in pickle.dumps(worker(code).start().ask().body)
        code = code.replace("pickle.dumps(Point())", "str(pickle.loads(pickle.dumps(Point())).x)")
        assert worker(code).start().ask().body == "1"

    def test_module_can_import_itself_and_siblings(self, worker, root):
        (root / "pkg").mkdir()
        (root / "pkg" / "__init__.py").write_text("")
        (root / "pkg" / "a.py").write_text("from . import b\nimport pkg.a\ndef f(context, event):\n    return b.NAME\n")
        (root / "pkg" / "b.py").write_text("NAME = 'b'\n")
        assert worker(handler="pkg.a:f").start().ask().body == "b"

    def test_working_directory_is_the_source_root(self, worker, root):
        assert worker("import os\ndef f(context, event):\n    return os.getcwd()\n").start().ask().body == str(root)


class TestNotThere:
    def test_missing_function_lists_what_the_module_defines(self, fails):
        code = "import os\nfrom json import dumps\nLIMIT = 3\ndef clean(): pass\nclass Model: pass\n"
        _, failure = fails(code, handler="main:nope")
        assert failure["message"] == "handler 'main:nope': 'nope' not found in main.py; it defines: clean, Model"

    def test_missing_method_lists_what_the_class_defines(self, fails):
        code = "class Model:\n    def run(self): pass\n    @staticmethod\n    def fit(): pass\n    size = 3\n"
        _, failure = fails(code, handler="main:Model.nope")
        assert failure["message"] == "handler 'main:Model.nope': 'nope' not found in class Model; it defines: run, fit"

    def test_file_is_named_from_the_root(self, fails, root):
        (root / "src").mkdir()
        (root / "src" / "fn.py").write_text(BODY)
        _, failure = fails("", handler="src.fn:g")
        assert "'g' not found in src/fn.py; it defines: f" in failure["message"]

    def test_what_cannot_be_called_is_refused(self, fails):
        _, failure = fails("limit = 3\n", handler="main:limit")
        assert failure["message"] == "handler 'main:limit': 'limit' in main.py is int, not a function"

    def test_class_that_wants_arguments_is_refused(self, fails):
        _, failure = fails("class A:\n    def __init__(self, k): pass\n    def f(self): pass\n", handler="main:A.f")
        assert "A cannot be made without arguments: missing a required argument: 'k'" in failure["message"]

    def test_missing_module_lists_what_the_root_holds(self, fails):
        _, failure = fails(BODY, handler="nope:f")
        assert failure["message"] == "handler 'nope:f': module 'nope' not found; the source's root holds: main.py"
        assert failure["type"] == "LoadError"

    def test_missing_module_in_a_package_names_the_part(self, fails, root):
        (root / "pkg").mkdir()
        (root / "pkg" / "m.py").write_text(BODY)
        _, failure = fails("", handler="pkg.nope:f")
        assert "module 'pkg.nope' not found; the source's root holds: pkg" in failure["message"]

    def test_failing_import_inside_the_users_module_is_his(self, fails):
        peer, failure = fails("import math\nimport not_installed_here\n")
        assert (failure["type"], failure["message"]) == ("ModuleNotFoundError", "No module named 'not_installed_here'")
        assert failure["frames"] == [
            {"file": "main.py", "line": 2, "function": "<module>", "code": "import not_installed_here"}
        ]
        assert "nuwrap_runtime" not in peer.stderr()

    def test_syntax_error_shows_the_users_line(self, fails):
        peer, failure = fails("x = 1\ndef f(:\n    pass\n")
        assert failure["type"] == "SyntaxError"
        assert failure["frames"] == [{"file": "main.py", "line": 2, "function": "<module>", "code": "def f(:"}]
        assert "def f(:" in peer.stderr()

    def test_syntax_error_of_an_imported_module_shows_both_places(self, fails, root):
        (root / "helper.py").write_text("def (\n")
        _, failure = fails("import helper\n")
        assert [(one["file"], one["line"]) for one in failure["frames"]] == [("main.py", 1), ("helper.py", 1)]

    def test_exit_while_loading_is_a_load_failure_with_its_code(self, fails):
        _, failure = fails("import sys\nsys.exit(3)\n")
        assert (failure["type"], failure["exit"]) == ("SystemExit", 3)

    def test_exception_of_a_constructor_shows_the_users_frame(self, fails):
        code = "class A:\n    def __init__(self):\n        raise OSError('no model')\n    def f(self): pass\n"
        _, failure = fails(code, handler="main:A.f")
        assert (failure["message"], failure["frames"][0]["function"]) == ("no model", "__init__")


class TestStandardLibrary:
    @pytest.mark.parametrize("module", ["types", "json", "sys"])
    def test_handler_in_a_module_of_that_name_is_an_error_that_names_the_clash(self, fails, root, module):
        (root / f"{module}.py").write_text(BODY)
        _, failure = fails("", handler=f"{module}:f")
        assert f"module '{module}' is one of Python's standard library" in failure["message"]
        assert f"rename '{module}.py'" in failure["message"]

    def test_other_shadowed_files_are_one_warning(self, worker, root):
        for name in ("types.py", "logging.py", "json"):
            (root / name).mkdir() if "." not in name else (root / name).write_text("raise RuntimeError\n")
        (root / "json" / "__init__.py").write_text("raise RuntimeError\n")
        (root / "queue").mkdir()  # a folder without __init__.py is no package of that name
        peer = worker(BODY).start()
        assert peer.ask().body == "found"
        [warning] = peer.logs()
        assert warning["level"] == "warning"
        assert warning["message"].endswith("standard library has the same names: json, logging.py, types.py")

    @pytest.mark.parametrize("name", ["os", "sys", "_thread", "asyncio", "types", "zlib", "math", "this"])
    def test_standard_names_are_known(self, name):
        assert loader.is_standard(name)

    @pytest.mark.parametrize("name", ["site-packages", "lib-dynload", "numpy", "main", "pytest", "__pycache__"])
    def test_other_names_are_the_users(self, name):
        assert not loader.is_standard(name)


def test_module_of_an_installed_package_can_hold_the_handler(worker):
    code = "import sys\nsys.path\n" + BODY
    peer = worker(code, handler="packaging.version:parse", spec={"parameters": {"version": "1.0"}, **EVENT}).start()
    assert peer.ask().body == "1.0"


def test_reference_without_a_module_of_its_own_is_checked_in_process(tmp_path, monkeypatch):
    (tmp_path / "loader_case.py").write_text("value = 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(LoadError, match=r"'value' in loader_case\.py is int, not a function"):
        loader.load_callable("value", default_module="loader_case", root=str(tmp_path))
