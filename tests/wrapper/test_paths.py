"""What the worker may import and in which order, seen from the user's code."""

from __future__ import annotations

import os
import sys

import pytest

from nuwrap_runtime.worker import paths

SEE = "import os, sys\ndef f(context, event):\n    return {'path': sys.path, 'env': dict(os.environ)}\n"
EVENT = {"mode": "event"}


def package(folder, name, text="", file="__init__.py"):
    (folder / name).mkdir(parents=True)
    (folder / name / file).write_text(text)


class TestOrder:
    def test_standard_library_then_root_then_the_users_then_ours(self, worker, root, tree, tmp_path):
        given = str(tmp_path / "given")
        found = worker(SEE, spec={"pythonpath": given, **EVENT}).start().answers()["path"]
        standard = os.path.dirname(os.path.realpath(os.__file__))
        kinds = [os.path.realpath(one) == standard for one in found]
        order = [kinds.index(True), found.index(str(root)), found.index(given)]
        order += [min(at for at, one in enumerate(found) if one.endswith("site-packages"))]
        order += [found.index(os.path.join(tree, "worker")), found.index(os.path.join(tree, "sdk"))]
        assert order == sorted(order)
        assert found[-1].endswith(os.path.join("nuwrap_runtime", "compat"))
        assert len(found) == len(set(found))

    def test_dynamic_part_of_the_standard_library_stands_before_the_root(self, worker, root):
        found = worker(SEE).start().answers()["path"]
        assert [at for at, one in enumerate(found) if "lib-dynload" in one] < [found.index(str(root))]

    def test_users_pythonpath_comes_back_into_the_environment(self, worker):
        found = worker(SEE, spec={"pythonpath": "/a:/b", **EVENT}).start().answers()
        assert found["env"]["PYTHONPATH"] == "/a:/b"
        assert [one for one in found["path"] if one in ("/a", "/b")] == ["/a", "/b"]

    def test_no_pythonpath_stays_none(self, worker):
        assert "PYTHONPATH" not in worker(SEE, spec=EVENT).start().answers()["env"]

    def test_pythonpath_of_a_foreign_processor_counts_as_the_users(self, worker, tmp_path):
        package(tmp_path / "lib", "mine", "NAME = 'mine'\n")
        code = "import mine\ndef f(context, event):\n    return mine.NAME\n"
        assert worker(code, env={"PYTHONPATH": str(tmp_path / "lib")}).start().ask().body == "mine"

    def test_root_wins_over_pythonpath_and_installed_packages(self, worker, root, tmp_path):
        for folder, name in ((tmp_path / "lib", "lib"), (root, "root")):
            package(folder, "packaging", f"WHERE = '{name}'\n")
        code = "import packaging\ndef f(context, event):\n    return packaging.WHERE\n"
        assert worker(code, spec={"pythonpath": str(tmp_path / "lib"), **EVENT}).start().ask().body == "root"


class TestOurs:
    def test_user_code_imports_our_decorator_and_entities(self, worker):
        code = "from nuwrap_runtime import Dataitem, handler\nfrom digitalhub_runtime_python import handler as same\n"
        code += "@handler(outputs=['a'])\ndef f(context, event):\n    return str(handler is same)\n"
        assert worker(code).start().ask().body == "True"

    def test_ours_win_over_an_installed_runtime_of_another_version_with_a_warning(self, worker, tmp_path):
        package(tmp_path / "lib", "nuwrap_runtime", '__version__ = "9.9"\nraise RuntimeError("the wrong one")\n')
        code = "import nuwrap_runtime\ndef f(context, event):\n    return nuwrap_runtime.__version__\n"
        peer = worker(code, spec={"pythonpath": str(tmp_path / "lib"), **EVENT}).start()
        assert peer.ask().body != "9.9"
        [warning] = peer.logs()
        assert warning["level"] == "warning"
        assert "nuwrap_runtime 9.9 among the installed packages is not used" in warning["message"]

    def test_installed_runtime_of_the_same_version_is_no_warning(self, worker, tmp_path):
        from nuwrap_runtime import __version__

        package(tmp_path / "lib", "nuwrap_runtime", f'__version__ = "{__version__}"\n')
        peer = worker(SEE, spec={"pythonpath": str(tmp_path / "lib"), **EVENT}).start()
        assert (peer.ask().status, peer.logs()) == (200, [])

    @pytest.mark.parametrize(
        ("text", "found"),
        [("", "of an unknown version"), ("__version__ = '9.9'\n", "9.9"), ('__version__ = "0.1.0"\n', "")],
    )
    def test_version_is_read_without_running_the_package(self, tmp_path, text, found):
        package(tmp_path, "nuwrap_runtime", f"raise RuntimeError\n{text}")
        assert paths.rival_version([str(tmp_path)], "0.1.0") == found


class TestSdk:
    CODE = "import sys\nbefore = 'nuclio_sdk' in sys.modules\nimport nuclio_sdk\n"
    CODE += "def f(context, event):\n    return [before, getattr(nuclio_sdk, 'MINE', nuclio_sdk.__file__)]\n"

    def test_users_own_sdk_wins(self, worker, root):
        package(root, "nuclio_sdk", "MINE = 'mine'\n")
        assert worker(self.CODE).start().answers() == [False, "mine"]

    def test_ours_serves_who_has_none_and_is_not_loaded_before(self, worker, tree):
        before, file = worker(self.CODE, python=bare_python()).start().answers()
        assert (before, file) == (False, os.path.join(tree, "sdk", "nuclio_sdk", "__init__.py"))

    def test_platform_of_the_context_calls_functions_as_the_sdks(self, worker):
        code = "def f(context, event):\n    return context.platform.call_function.__module__\n"
        assert worker(code, python=bare_python()).start().ask().body == "nuclio_sdk.platform"


def bare_python() -> str:
    """Return the interpreter without the packages of the environment that the tests run in."""
    return os.path.realpath(sys.executable)


class TestStandardPaths:
    def test_they_hold_the_library_and_no_packages(self):
        found = paths.standard_paths()
        assert os.path.dirname(os.path.abspath(os.__file__)) in found
        assert not [one for one in found if one.endswith("site-packages")]
