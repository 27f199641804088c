"""What starts in a built image do: its code is taken as it is, its interpreter has what is required."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest
from running_job import Finished

from nuwrap_runtime.errors import PlatformError
from nuwrap_runtime.host.image import find_code, find_packages, save_packages
from nuwrap_runtime.host.interpreter import probe
from nuwrap_runtime.launch import Launch

RunJob = Callable[..., Finished]
Baked = Callable[..., Path]
WHERE = "import os\ndef f(): return [__file__, os.getcwd()]\n"
REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def baked(tmp_path: Path) -> Baked:
    """Make what is in /opt of a built image, and return the folder; arguments are keys of its source record."""
    place = tmp_path.resolve() / "opt"

    def make(code: str = WHERE, module: str = "main", **record: Any) -> Path:
        path = place / "function" / (module.replace(".", "/") + ".py")
        path.parent.mkdir(parents=True)
        path.write_text(code)
        (place / "nuwrap-image").mkdir()
        document = {"api": "nuwrap/v1", "code_src": "", "revision": REVISION, "default_module": module, **record}
        (place / "nuwrap-image" / "source.json").write_text(json.dumps(document))
        return place

    return make


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_the_code_is_the_images_and_no_copy(baked: Baked, run_job: RunJob) -> None:
    place = baked(code_src="git+https://nowhere.invalid/o/r.git#v1")
    done = run_job(code_src="git+https://nowhere.invalid/o/r.git#v1", env={"NUWRAP_IMAGE": str(place)})
    assert done.code == 0, done.stderr
    assert done.value == [str(place / "function" / "main.py"), str(place / "function")]
    assert done.result["source"]["revision"] == REVISION
    assert f"git+https://nowhere.invalid/o/r.git#v1 at {REVISION[:19]}, from the image" in done.stderr


def test_a_path_of_the_authors_machine_is_the_images(baked: Baked, run_job: RunJob) -> None:
    place = baked(module="src.fn", code_src="src/fn.py")
    done = run_job(code_src="src/fn.py", env={"NUWRAP_IMAGE": str(place)})
    assert done.value == [str(place / "function" / "src" / "fn.py"), str(place / "function")]


def test_a_path_that_is_here_too_does_not_win_over_the_image(baked: Baked, run_job: RunJob, tmp_path: Path) -> None:
    other = tmp_path / "fn.py"
    other.write_text("def f(): return 'mounted'\n")
    place = baked(module="fn", code_src=str(other))
    assert run_job(code_src=str(other), env={"NUWRAP_IMAGE": str(place)}).value[1] == str(place / "function")
    fetched = run_job(code_src=str(other), refresh_code=True, env={"NUWRAP_IMAGE": str(place)})
    assert fetched.value == "mounted"
    assert "it is fetched anew (refresh_code)" in fetched.stderr


@pytest.mark.parametrize("form", ["code", "base64"])
def test_inline_code_is_known_by_its_digest(baked: Baked, run_job: RunJob, form: str) -> None:
    place = baked(sha256=digest(WHERE))
    text = WHERE if form == "code" else base64.b64encode(WHERE.encode()).decode()
    assert run_job(env={"NUWRAP_IMAGE": str(place)}, **{form: text}).value[1] == str(place / "function")
    other = run_job(code="def f(): return 'mine'", env={"NUWRAP_IMAGE": str(place)})
    assert other.value == "mine"
    assert f"the image has other code, inline at {REVISION[:19]}; this launch's is fetched" in other.stderr


def test_refreshing_a_path_that_is_not_here_is_told(baked: Baked, run_job: RunJob) -> None:
    done = run_job(code_src="src", refresh_code=True, env={"NUWRAP_IMAGE": str(baked(code_src="src"))})
    assert done.code == 3
    assert "code_src 'src' was a path where the image was built" in done.failure["message"]


def test_the_variable_asks_for_a_refresh_too(baked: Baked, run_job: RunJob) -> None:
    environ = {"NUWRAP_IMAGE": str(baked(code_src="src")), "NUWRAP_REFRESH_CODE": "true"}
    assert run_job(code_src="src", env=environ).code == 3


@pytest.mark.parametrize(
    ("keys", "is_same"),
    [
        ({}, True),
        ({"code_src": "git+https://h/r#v2"}, False),
        ({"sha256": "0" * 64}, False),
        ({"keep_git": True}, False),
        ({"code_src": "", "code": "x"}, False),
    ],
    ids=["the same", "another ref", "a digest", "with .git", "inline"],
)
def test_a_launch_that_asks_for_more_is_not_served(baked: Baked, keys: dict[str, Any], *, is_same: bool) -> None:
    found = find_code({"NUWRAP_IMAGE": str(baked(code_src="git+https://h/r#v1"))})
    assert found
    assert found.serves(Launch("f", **{"code_src": "git+https://h/r#v1", **keys})) is is_same


def test_a_file_is_served_by_the_digest_that_it_has(baked: Baked) -> None:
    found = find_code({"NUWRAP_IMAGE": str(baked(code_src="https://h/f.py", revision="sha256:" + "a" * 64))})
    assert found
    assert found.serves(Launch("f", code_src="https://h/f.py", sha256="a" * 64))


def test_a_git_folder_that_was_kept_serves(baked: Baked) -> None:
    place = baked(code_src="git+https://h/r")
    (place / "function" / ".git").mkdir()
    found = find_code({"NUWRAP_IMAGE": str(place)})
    assert found
    assert found.serves(Launch("f", code_src="git+https://h/r", keep_git=True))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"api": "nuwrap/v2", "code_src": "src", "revision": "r"}'])
def test_a_record_that_cannot_be_read_is_told(baked: Baked, text: str) -> None:
    place = baked()
    (place / "nuwrap-image" / "source.json").write_text(text)
    with pytest.raises(PlatformError, match="build the image anew"):
        find_code({"NUWRAP_IMAGE": str(place)})


def test_without_an_image_there_is_no_code(tmp_path: Path) -> None:
    assert find_code({"NUWRAP_IMAGE": str(tmp_path)}) is None


def test_plan_and_check_tell_where_the_code_is(baked: Baked, tree: str, tmp_path: Path) -> None:
    place = baked(code_src="src")
    entry = os.path.join(tree, "worker", "nuwrap_runtime", "host", "entry.py")
    environ = {**os.environ, "NUWRAP_IMAGE": str(place), "NUWRAP_CACHE": str(tmp_path / "cache")}
    told = {}
    for command in ("plan", "check"):
        argv = [sys.executable, "-I", "-S", entry, command, "--handler", "f", "--code-src", "src"]
        done = subprocess.run(argv, env=environ, cwd=tmp_path, capture_output=True, text=True, check=True)
        told[command] = json.loads(done.stdout)
    assert told["plan"]["source"] == {"address": "src", "how": "image", "kept": [], "revision": REVISION}
    assert (told["check"]["how"], told["check"]["revision"]) == ("image", REVISION)


def test_the_images_launch_document_can_be_changed_by_a_variable(baked: Baked, tree: str, tmp_path: Path) -> None:
    place = baked("def f(x): return x * 2\n", code_src="src")
    launch = place / "nuwrap-image" / "launch.json"
    document = {"api": "nuwrap/v1", "code_src": "src", "handler": "f", "python": sys.executable, "parameters": {"x": 1}}
    launch.write_text(json.dumps(document))
    environ = {
        **os.environ,
        "NUWRAP_IMAGE": str(place),
        "NUWRAP_LAUNCH": f"@{launch}",
        "NUWRAP_PARAMETERS": '{"x": 21}',
        "NUWRAP_WORK": str(tmp_path / "work"),
    }
    entry = os.path.join(tree, "worker", "nuwrap_runtime", "host", "entry.py")
    subprocess.run([sys.executable, "-I", "-S", entry, "job"], env=environ, cwd=tmp_path, check=True)
    (result,) = (tmp_path / "work" / "runs").glob("*/result.json")  # where it was started is the code
    assert json.loads(result.read_text())["results"] == {"output_0": 42}
    assert not (tmp_path / ".nuwrap").exists()


@pytest.fixture
def place(baked: Baked) -> Path:
    """An image whose interpreter is this one; `install` has seen to pytest."""
    made = baked(code_src="src")
    save_packages(str(made / "nuwrap-image"), probe(sys.executable, "", os.environ), ["pytest>1", "six"], ["pytest==9"])
    return made


def required(*lines: str, **more: Any) -> Launch:
    return Launch("f", python=sys.executable, requirements=lines, **more)


def test_what_was_installed_is_known_without_a_process_or_a_cache(place: Path, run_job: RunJob, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    environ = {"NUWRAP_IMAGE": str(place), "NUWRAP_CACHE": str(nowhere), "NUWRAP_UV": "/nonexistent/uv"}
    done = run_job(code_src="src", requirements=["pytest>1"], env=environ)
    assert done.code == 0, done.stderr
    assert done.result["requirements"] == ["pytest==9"]
    assert not nowhere.exists()


@pytest.mark.parametrize(
    "launch",
    [
        required("pytest>2"),
        required("pytest>1", refresh=True),
        required("pytest>1", isolated=True),
        required(),
        Launch("f", requirements=("pytest>1",), python="/bin/sh"),
    ],
    ids=["other", "refresh", "isolated", "none", "another interpreter"],
)
def test_what_is_asked_otherwise_is_looked_at_as_anywhere(place: Path, launch: Launch) -> None:
    assert find_packages(launch, {"NUWRAP_IMAGE": str(place)}) is None


def test_a_package_that_came_or_went_later_makes_the_record_untrue(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "leaf-1.0.dist-info").mkdir(parents=True)
    (tmp_path / "nuwrap-image").mkdir()
    here = probe(sys.executable, "", os.environ)
    base = type(here)(**{**vars(here), "site": (str(site),)})
    save_packages(str(tmp_path / "nuwrap-image"), base, ["leaf"], ["leaf==1.0"])
    environ = {"NUWRAP_IMAGE": str(tmp_path)}
    assert find_packages(required("leaf"), environ) is not None
    (site / "leaf-1.0.dist-info").rename(site / "leaf-2.0.dist-info")
    assert find_packages(required("leaf"), environ) is None
