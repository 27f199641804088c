"""`nuwrap check`: a function is loaded as for a run, and nothing of it is called. A real host and worker."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from command_line import Nuwrap, write_function

CODE = '''
import os
from nuwrap import handler

os.write(1, b"noise of the module")


def setup(context, seed=0):
    raise SystemExit("called")


@handler(outputs=["total", "rows"])
async def add(table, *more: int, scale: float = 0.5, **rest):
    """Add up.

    All of it.
    """
    raise SystemExit("called")
'''


def rows_of(text: str) -> dict[str, str]:
    """Return the table's rows, without what stands below it."""
    pairs = (line.partition(" ")[::2] for line in text.splitlines()[2:-1])
    return {name: found.strip() for name, found in pairs if name}


def test_it_says_what_it_found(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    (tmp_path / "sums.py").write_text(CODE)
    write_function(
        tmp_path, code_src="sums.py", handler="add", init_function="setup", name="sums", requirements=["packaging"]
    )
    done = run_nuwrap("check", ".", "--python", sys.executable)
    assert done.returncode == 0, done.stderr
    rows = rows_of(done.stdout)
    assert (rows["function"], rows["handler"]) == ("sums of project p", "async add, sums.py:12")
    assert rows["arguments"] == "table, *more: int, scale: float = 0.5, **rest"
    assert (rows["outputs"], rows["init_function"], rows["requirements"]) == ("total, rows", "setup", "packaging")
    assert rows["python"] == "{}.{}, {}".format(*sys.version_info[:2], sys.executable)
    assert rows["code"].startswith("sums.py at sha256:")
    assert "Add up." in done.stdout
    assert "All of it." not in done.stdout
    assert "noise of the module" in done.stderr
    assert done.stdout.splitlines()[-1] == "'sums' is whole: `nuwrap run` and `nuwrap serve` can load it"
    assert not (tmp_path / ".nuwrap").exists()


def test_json_is_one_document(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    write_function(tmp_path, code="def f(context, event): return 7")
    done = run_nuwrap("check", "function.yaml", "--json")
    told = json.loads(done.stdout)
    assert (told["function"], told["project"], told["init_function"], told["requirements"]) == ("fn", "p", None, [])
    assert (told["handler"]["name"], told["handler"]["binding"]) == ("f", "nuclio")
    assert [one["name"] for one in told["handler"]["parameters"]] == ["context", "event"]
    assert told["python"]["version"] == "{}.{}".format(*sys.version_info)
    assert told["revision"].startswith("sha256:")


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({"handler": ""}, 2, "handler: is empty"),
        ({"code_src": "nope.py", "code": None}, 2, "'nope.py' does not exist"),
        ({"handler": "g"}, 5, "'g' not found"),
        ({"handler": "other:f"}, 5, "other"),
        ({"code": "import no_such_module"}, 5, "no_such_module"),
        ({"code": "def f(:"}, 5, "SyntaxError"),
        ({"init_function": "setup"}, 5, "'setup' not found"),
        ({"code_src": "git+file:///nowhere/repo", "code": None}, 3, "/nowhere/repo"),
    ],
    ids=str,
)
def test_what_is_not_whole_is_said_with_the_code_of_a_run(
    run_nuwrap: Nuwrap, tmp_path: Path, fields: dict[str, str], code: int, said: str
) -> None:
    given = {"code": "def f(): return 7", **fields}
    write_function(tmp_path, **{name: value for name, value in given.items() if value is not None})
    done = run_nuwrap("check", ".")
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert said in done.stderr
    assert "is whole" not in done.stderr


def test_no_such_python_is_said(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    write_function(tmp_path, code="def f(): return 7")
    done = run_nuwrap("check", ".", "--python", "nowhere/python")
    assert (done.returncode, done.stdout) == (10, "")
    assert done.stderr == "nuwrap: --python 'nowhere/python' is no Python interpreter that runs here; name its path\n"


def test_variables_of_another_launch_change_nothing(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    write_function(tmp_path, code="def f(): return 7")
    done = run_nuwrap("check", ".", NUWRAP_HANDLER="g", NUWRAP_LAUNCH="{}", NUWRAP_CODE_SRC="nope")
    assert done.returncode == 0, done.stderr
