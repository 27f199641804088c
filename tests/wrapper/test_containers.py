"""The host as PID 1 of a container, as a built image starts it. Needs Docker and a Python image of this version."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable

import pytest
from http_server import File, HttpServer
from made_packages import make_links
from running_container import CODE, ENTRY, RECORDS, TREE, UID, RunningContainer, find_image, readable_copy

from nuwrap_runtime.host.uv import find_uv

UV = find_uv(os.environ)
needs_uv = pytest.mark.skipif(not UV, reason="SKIPPED: no uv beside this interpreter or on PATH; set NUWRAP_UV")
HOST = ("python3", "-I", "-S", "-u", ENTRY)
ASK = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/?x=20').read().decode())"
READY = "import urllib.request as u; u.urlopen('http://127.0.0.1:8082/ready')"


@pytest.fixture(scope="session")
def shared_tree(tree: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return readable_copy(tree, tmp_path_factory.mktemp("container") / "nuwrap")


class Image:
    """What a built image has beside its base, as folders that are mounted."""

    def __init__(self, python_image: str, tree: Path, folder: Path, stack: ExitStack) -> None:
        self._python_image, self._stack = python_image, stack
        self.code, self.records, self.work = folder / "function", folder / "records", folder / "work"
        for one in (self.code, self.records, self.work):
            one.mkdir()
        self.work.chmod(0o1777)
        self.mounts = {tree: f"{TREE}:ro", self.code: f"{CODE}:ro", self.records: f"{RECORDS}:ro", self.work: "/work"}

    def bake(self, code: str, **launch: Any) -> None:
        """Have this code and launch document in it, as of a path of the author's machine."""
        (self.code / "main.py").write_text(code)
        source = {"api": "nuwrap/v1", "code_src": "src", "revision": "sha256:0", "default_module": "main"}
        document = {"api": "nuwrap/v1", "code_src": "src", "handler": "f", **launch}
        (self.records / "source.json").write_text(json.dumps(source))
        (self.records / "launch.json").write_text(json.dumps(document))

    def start(self, *command: str, options: tuple[str, ...] = (), **environ: str) -> RunningContainer:
        """Start the host in it as any uid; nothing but /work can be written."""
        given = {"NUWRAP_LAUNCH": f"@{RECORDS}/launch.json", "NUWRAP_WORK": "/work", **environ}
        more = ("--read-only", "--user", UID, "--workdir", CODE, *options)
        container = RunningContainer(self._python_image, self.mounts, environ=given, options=more)
        return self._stack.enter_context(container.start(*HOST, *command))

    def start_as_root(self, script: str, mounts: Mapping[Path, str], **environ: str) -> RunningContainer:
        """Start a script in it as a build's RUN does."""
        container = RunningContainer(self._python_image, {**self.mounts, **mounts}, environ=environ)
        return self._stack.enter_context(container.start("sh", "-ec", script))

    def result(self) -> dict[str, Any]:
        """Return the one result document that was written."""
        (path,) = self.work.glob("runs/*/result.json")
        return dict(json.loads(path.read_text()))


@pytest.fixture
def image(shared_tree: Path, tmp_path: Path) -> Iterator[Image]:
    python_image = find_image()
    with ExitStack() as stack:
        yield Image(python_image, shared_tree, tmp_path.resolve(), stack)


def wait_until(is_true: Callable[[], Any]) -> None:
    until = time.monotonic() + 30
    while not is_true():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_any_uid_runs_the_images_function(image: Image) -> None:
    code = "import getpass, os, tempfile\ndef f():\n    with tempfile.TemporaryFile():\n        pass\n"
    code += "    return [os.getuid(), os.getcwd(), os.environ['HOME'], getpass.getuser(), tempfile.gettempdir()]\n"
    image.bake(code)
    done = image.start("job").wait()
    assert done.code == 0, done.stderr
    assert image.result()["results"]["output_0"] == [12345, CODE, "/work/home", "nuwrap", "/work/tmp"]
    assert "src at sha256:0, from the image" in done.stderr


def test_a_variable_changes_a_key_of_the_images_launch(image: Image) -> None:
    image.bake("def f(x): return x + 1\n", parameters={"x": 1})
    image.start("job", NUWRAP_PARAMETERS='{"x": 41}').wait()
    assert image.result()["results"] == {"output_0": 42}


def test_what_one_container_has_fetched_another_of_the_same_user_runs(image: Image, web: HttpServer) -> None:
    """As an init container and the pod's own share a volume: the second one reaches nothing, and has no need to."""
    key = "store://p/artifact/artifact/a:1"
    launch = {"handler": "f", "code_src": web.on("/fn.py", File(b"def f(a): return open(a.as_file()).read()\n"))}
    launch.update(inputs={"a": key}, entities={key: {"kind": "artifact", "path": web.on("/a.txt", File(b"7"))}})
    (image.records / "run.json").write_text(json.dumps({"api": "nuwrap/v1", "run": "r", **launch}))
    given = {"NUWRAP_LAUNCH": f"@{RECORDS}/run.json"}
    fetched = image.start("fetch", options=("--network", "host"), **given).wait()
    assert fetched.code == 0, fetched.stderr
    done = image.start("job", options=("--network", "none"), **given).wait()
    assert done.code == 0, done.stderr
    assert image.result()["results"] == {"output_0": "7"}
    assert image.result()["source"]["revision"].startswith("sha256:")


def test_without_a_place_to_write_there_is_a_reason(image: Image) -> None:
    image.bake("def f(): return 1\n")
    done = image.start("job", NUWRAP_WORK="").wait()
    assert done.code == 8
    assert "Read-only file system; name a folder that can be written, or set NUWRAP_WORK to one" in done.stderr


def test_the_image_serves_until_it_is_stopped(image: Image) -> None:
    image.bake("def f(x: int): return {'twice': 2 * x}\n")
    container = image.start("serve")
    wait_until(lambda: container.ask("python3", "-c", f"{READY}; print(1)"))
    assert json.loads(container.ask("python3", "-c", ASK)) == {"twice": 40}
    container.signal("TERM")
    assert container.wait().code == 0


@pytest.mark.parametrize("name", ["TERM", "INT"])
def test_a_signal_to_pid_1_reaches_the_function(image: Image, name: str) -> None:
    code = "import time\ndef f():\n    open('/work/begun', 'w').write('1')\n"
    code += "    try:\n        time.sleep(600)\n    finally:\n        open('/work/ended', 'w').write('1')\n"
    image.bake(code)
    container = image.start("job")
    container.await_file(image.work / "begun")
    container.signal(name)
    assert container.wait().code == 143
    assert (image.work / "ended").exists()
    assert image.result()["state"] == "STOPPED"


def test_what_the_functions_processes_leave_is_reaped_while_it_runs(image: Image) -> None:
    code = "import os, subprocess, time\ndef states():\n    found = []\n"
    code += "    for pid in filter(str.isdigit, os.listdir('/proc')):\n        try:\n"
    code += "            found.append(open(f'/proc/{pid}/stat').read().rpartition(')')[2].split()[:2])\n"
    code += "        except OSError:\n            pass\n    return found\n"
    code += "def f():\n    subprocess.run(['sh', '-c', '(sleep 0.2) & (sleep 0.3) & (setsid sleep 0.4) &'])\n"
    code += "    until = time.monotonic() + 20\n    time.sleep(0.5)\n"
    code += "    while ['Z', '1'] in states():\n        assert time.monotonic() < until\n        time.sleep(0.1)\n"
    image.bake(code)
    done = image.start("job").wait()
    assert done.code == 0, done.stderr


def test_a_function_without_memory_is_told_by_who_has_some_left(image: Image) -> None:
    image.bake("def f():\n    x = []\n    while True:\n        x.append(bytearray(1 << 20))\n")
    log = image.work.parent / "termination-log"
    log.touch(mode=0o666)
    log.chmod(0o666)
    image.mounts[log] = "/dev/termination-log"
    done = image.start("job", options=("--memory", "128m", "--memory-swap", "128m")).wait()
    assert done.code == 137
    assert image.result()["failure"]["type"] == json.loads(log.read_text())["failure"]["type"]
    assert json.loads(log.read_text())["exit_code"] == 137


@pytest.mark.parametrize(("line", "code"), [("raise ValueError('x')", 1), ("import os; os._exit(0)", 9)])
def test_the_exit_code_is_the_containers(image: Image, line: str, code: int) -> None:
    image.bake(f"def f():\n    {line}\n")
    assert image.start("job").wait().code == code


def test_exec_is_the_command_from_then_on(image: Image) -> None:
    image.bake("def f(context, event): return 1\n")
    program = (
        "import json, os; print(os.getpid(), os.getcwd(), json.load(open(os.environ['NUWRAP_WORKER_SPEC']))['root'])"
    )
    done = image.start("exec", "--", "python3", "-c", program).wait()
    assert (done.code, done.stdout.split()) == (0, ["1", CODE, CODE]), done.stderr


@pytest.mark.parametrize("uv", [pytest.param(UV, id="uv", marks=needs_uv), pytest.param("", id="pip")])
def test_requirements_go_into_a_system_that_manages_itself_and_a_start_installs_nothing(
    image: Image, tmp_path: Path, uv: str
) -> None:
    """The interpreter's folder of libraries is a volume here: what RUN leaves in a layer."""
    links = tmp_path / "links"
    links.mkdir()
    make_links(links)
    (image.records / "requirements.txt").write_text("twig>=1\n")
    image.bake("import leaf, twig\ndef f(): return [leaf.VERSION, twig.VERSION]\n", requirements=["twig>=1"])
    library = f"/usr/local/lib/python{sys.version_info[0]}.{sys.version_info[1]}"
    site = tmp_path / "site"
    site.mkdir()
    image.mounts[image.records] = RECORDS
    install = f"touch {library}/EXTERNALLY-MANAGED; cp -a {library}/site-packages/. /site; "
    install += f"rm -rf {library}/site-packages; ln -s /site {library}/site-packages; "
    install += f"{' '.join(HOST)} install --requirements {RECORDS}/requirements.txt --lock {RECORDS}/requirements.lock"
    install += " --find-links /links --no-index"
    mounts = {links: "/links:ro", site: "/site", **({Path(uv): "/uv:ro"} if uv else {})}
    done = image.start_as_root(install, mounts, NUWRAP_UV="/uv").wait()
    assert done.code == 0, done.stderr
    assert json.loads(done.stdout)["installed"] == ["leaf==2.0", "twig==1.0"]
    image.mounts[site] = f"{library}/site-packages:ro"
    image.mounts[image.records] = f"{RECORDS}:ro"
    done = image.start("job").wait()
    assert done.code == 0, done.stderr
    assert (image.result()["results"]["output_0"], image.result()["requirements"]) == (
        ["2.0", "1.0"],
        ["leaf==2.0", "twig==1.0"],
    )
    assert "requirements" not in image.result()["seconds"]


def test_compile_gives_the_library_the_bytecode_that_the_base_lacks(image: Image, tmp_path: Path) -> None:
    tree = next(iter(image.mounts))
    shutil.copytree(tree, tmp_path / "tree", ignore=shutil.ignore_patterns("__pycache__"))
    del image.mounts[tree]
    imports = (
        f"import sys, os, json, argparse, asyncio; sys.path.append('{TREE}/worker'); import nuwrap_runtime.launch; "
    )
    imports += "had = [m.__cached__ for m in sys.modules.values() if getattr(m, '__cached__', '')]; "
    imports += "print([path for path in had if not os.path.exists(path)])"
    script = f'{" ".join(HOST)} compile; python3 -B -I -S -c "{imports}"; {" ".join(HOST)} compile'
    done = image.start_as_root(script, {tmp_path / "tree": TREE}).wait()
    first, lacking, second = done.stdout.splitlines()
    assert json.loads(first)["compiled"] > 100, done.stderr
    assert (lacking, json.loads(second)["compiled"]) == ("[]", 0)
