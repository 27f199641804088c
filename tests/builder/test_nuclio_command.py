"""`nuwrap nuclio`: what it writes, what it leaves alone, and that a processor takes it as it is."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import Nuwrap, clean_environment, write_function
from serving import call, is_ready

from nuwrap.plan.nuclio import INLINE_BYTES, embed_code, plan_function, plan_processor, resource_name
from nuwrap_runtime.host.tree import ensure_tree
from nuwrap_runtime.launch import Launch, Serve, parse_launch

FILES = ("function.yaml", "processor.yaml", "platform.yaml", "launch.json")
ADD = (
    "def setup(context, base):\n    context.user_data.base = base\n"
    "def f(context, x: int, y: int = 0):\n    return str(context.user_data.base + x + y)\n"
)


def made(run_nuwrap: Nuwrap, *arguments: str, **more: str) -> dict[str, Any]:
    """Run the command and return the document that it prints."""
    done = run_nuwrap("nuclio", ".", "--json", *arguments, **more)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def read(folder: Path, name: str = "function.yaml") -> Any:
    return yaml.safe_load((folder / "nuclio" / name).read_text())


def variables(folder: Path) -> Mapping[str, str]:
    return {one["name"]: one["value"] for one in read(folder)["spec"]["env"]}


# What is written.


def test_a_function_becomes_four_files_that_say_the_same(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    write_function(tmp_path, code=ADD, init_function="setup", name="Add.It", description="adds")
    given = ("-p", "y=2", "--init-param", "base=1", "--workers", "3", "--timeout-s", "2.5", "--env", "A=b")
    told = made(run_nuwrap, *given, "--port", "9090", "--admin-port", "9092", "--address", "::1")
    assert told["files"] == list(FILES)
    assert {path.name for path in (tmp_path / "nuclio").iterdir()} == {*FILES, ".nuwrap-nuclio"}
    function, processor = read(tmp_path), read(tmp_path, "processor.yaml")
    assert (function["apiVersion"], function["kind"]) == ("nuclio.io/v1beta1", "NuclioFunction")
    assert function["metadata"] == {"name": "add-it"}
    assert function["spec"]["description"] == "adds"
    version = "python:{}.{}".format(*sys.version_info)
    for spec in (function["spec"], processor["spec"]):
        assert (spec["runtime"], spec["handler"], spec["eventTimeout"]) == (version, "main:f", "2.5s")
        assert spec["triggers"]["http"]["numWorkers"] == 3
    assert "build" not in function["spec"]
    assert processor["spec"]["triggers"]["http"]["url"] == "[::1]:9090"
    assert read(tmp_path, "platform.yaml")["healthCheck"]["listenAddress"] == "[::1]:9092"
    launch = json.loads((tmp_path / "nuclio/launch.json").read_text())
    assert json.loads(variables(tmp_path)["NUWRAP_LAUNCH"]) == launch
    assert variables(tmp_path)["A"] == "b"
    assert (launch["parameters"], launch["init_parameters"], launch["mode"]) == ({"y": 2}, {"base": 1}, "serve")
    assert launch["serve"] == {"workers": 3}
    assert "run" not in launch


def test_a_person_reads_what_to_type_next(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    write_function(tmp_path, code=ADD, name="fn")
    done = run_nuwrap("nuclio", ".", "-o", "out/deploy")
    assert done.stdout.startswith("made function.yaml, processor.yaml, platform.yaml, launch.json in out/deploy/\n")
    assert "  nuctl deploy --file out/deploy/function.yaml\n" in done.stdout
    assert f"nuwrap-host exec --launch {tmp_path}/out/deploy/launch.json -- processor --config" in done.stdout
    assert done.stderr == ""


def test_a_secret_is_there_by_name_alone(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    write_function(tmp_path, code=ADD, name="fn")
    value = "s3cr3t-value"
    told = made(run_nuwrap, "--secret", "TOKEN", "--secret", "a.pem", TOKEN=value)
    assert variables(tmp_path)["NUWRAP_SECRETS"] == "/etc/nuwrap/secrets"
    (volume,) = read(tmp_path)["spec"]["volumes"]
    assert volume["volume"]["secret"] == {"secretName": "fn-secrets"}
    assert volume["volumeMount"]["mountPath"] == "/etc/nuwrap/secrets"
    first = told["next"]["into a cluster"][0]
    assert first == "kubectl create secret generic fn-secrets --from-file=TOKEN=FILE --from-file=a.pem=FILE"
    assert not [path for path in (tmp_path / "nuclio").iterdir() if "s3cr3t" in path.read_text()]


def test_a_large_launch_document_is_a_file_from_a_secret(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    write_function(tmp_path, code=f"{ADD}# {'x' * INLINE_BYTES}", name="fn")
    told = made(run_nuwrap)
    assert variables(tmp_path)["NUWRAP_LAUNCH"] == "@/etc/nuwrap/launch/launch.json"
    (volume,) = read(tmp_path)["spec"]["volumes"]
    assert volume["volume"]["secret"] == {"secretName": "fn-launch"}
    source = f"--from-file=launch.json={tmp_path}/nuclio/launch.json"
    assert told["next"]["into a cluster"][0] == f"kubectl create secret generic fn-launch {source}"


def test_a_local_file_is_taken_along_and_its_module_is_main(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/fn.py").write_text(ADD)
    write_function(tmp_path, code_src="src/fn.py", handler="src.fn:f", init_function="src.fn:setup")
    (note,) = made(run_nuwrap)["notes"]
    assert note == "'src/fn.py' as it is now is taken along, as main.py"
    launch = parse_launch(json.loads((tmp_path / "nuclio/launch.json").read_text()))
    assert (launch.handler, launch.init_function, launch.code_src) == ("f", "setup", "")
    assert base64.b64decode(launch.base64).decode() == ADD


@pytest.mark.parametrize("code_src", ["src", "src/all.zip"])
def test_what_only_this_machine_has_is_refused(run_nuwrap: Nuwrap, tmp_path: Path, code_src: str) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/all.zip").touch()
    write_function(tmp_path, code_src=code_src, handler="fn:f")
    done = run_nuwrap("nuclio", ".")
    assert done.returncode == 2
    assert f"code_src {code_src!r} is on this machine alone" in done.stderr
    assert not (tmp_path / "nuclio").exists()


def test_what_a_container_may_lack_is_a_warning(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a\n1\n")
    write_function(tmp_path, code=ADD, image="h/i:1", base_image="h/b:1")
    done = run_nuwrap("nuclio", ".", "-i", "di=data.csv")
    assert done.returncode == 0
    assert "warning: image and base_image of the function: not used" in done.stderr
    assert f"is '{tmp_path}/data.csv', a path of this machine: it must be there in the container too" in done.stderr


# What is left alone.


def test_what_nuwrap_wrote_is_written_anew(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    write_function(tmp_path, code=ADD)
    made(run_nuwrap)
    made(run_nuwrap, "--workers", "7")
    assert read(tmp_path)["spec"]["triggers"]["http"]["numWorkers"] == 7


def test_what_somebody_wrote_or_changed_stays_and_one_error_names_it(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    write_function(tmp_path, code=ADD)
    made(run_nuwrap)
    mine = (tmp_path / "nuclio/function.yaml").read_text() + "  build: {baseImage: mine}\n"
    (tmp_path / "nuclio/function.yaml").write_text(mine)
    (tmp_path / "nuclio/launch.json").unlink()
    (tmp_path / "nuclio/launch.json").mkdir()
    before = (tmp_path / "nuclio/processor.yaml").read_text()
    done = run_nuwrap("nuclio", ".", "--workers", "7")
    assert done.returncode == 2
    assert done.stderr.startswith("nuwrap: function.yaml, launch.json in 'nuclio' are not as nuwrap wrote it")
    assert (tmp_path / "nuclio/function.yaml").read_text() == mine
    assert (tmp_path / "nuclio/processor.yaml").read_text() == before


def test_the_function_file_itself_is_somebodys(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    path = write_function(tmp_path, code=ADD)
    before = path.read_text()
    done = run_nuwrap("nuclio", ".", "-o", ".")
    assert done.returncode == 2
    assert "function.yaml in '.' is not as nuwrap wrote it" in done.stderr
    assert path.read_text() == before
    assert not (tmp_path / "processor.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nope.yaml"], 2, "cannot read '"),
        ([".", "--workers", "0"], 2, "Invalid value for '--workers'"),
        ([".", "--port", "0"], 2, "Invalid value for '--port'"),
        ([".", "--port", "8082", "--admin-port", "8082"], 2, "admin_port: 8082 is port too"),
        ([".", "--env", "RUN_ID=1"], 2, "--env 'RUN_ID' is set by nuwrap itself"),
        ([".", "--secret", "../x"], 2, "is no name of a secret"),
        ([".", "-o", "function.yaml"], 10, "cannot write into 'function.yaml'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_argument_is_one_message(
    run_nuwrap: Nuwrap, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    write_function(tmp_path, code=ADD)
    done = run_nuwrap("nuclio", *arguments)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "nuclio").exists()


# The plan by itself.


@pytest.mark.parametrize(
    ("name", "expected"),
    [("fn", "fn"), ("My.Fn_2", "my-fn-2"), ("2fast", "fn-2fast"), ("a" * 128, "a" * 63), ("x" * 62 + ".y", "x" * 62)],
)
def test_a_name_is_one_that_kubernetes_takes(name: str, expected: str) -> None:
    assert resource_name(name) == expected


@pytest.mark.parametrize(("seconds", "expected"), [(30.0, "30s"), (0.25, "0.25s"), (100.0, "100s"), (0.0, "0s")])
def test_seconds_are_a_go_duration(seconds: float, expected: str) -> None:
    spec = plan_processor(Launch("f", code="x", grace_s=seconds), "3.11")["spec"]
    assert spec["triggers"]["http"]["workerTerminationTimeout"] == expected


@pytest.mark.parametrize(
    ("address", "url"), [("127.0.0.1", "127.0.0.1:1"), ("::1", "[::1]:1"), ("::", ":1"), ("", ":1"), ("a.b", "a.b:1")]
)
def test_an_address_is_as_go_listens(address: str, url: str) -> None:
    launch = Launch("f", code="x", serve=Serve(address=address, port=1))
    assert plan_processor(launch, "3.11")["spec"]["triggers"]["http"]["url"] == url


def test_a_launch_document_is_a_variable_as_long_as_it_is_one_for_the_system() -> None:
    room = INLINE_BYTES - len(json.dumps(Launch("f", code="").to_document() | {"code": ""}))
    assert plan_function(Launch("f", code="x" * room), "3.11").embedded
    assert not plan_function(Launch("f", code="x" * (room + 1)), "3.11").embedded
    assert not plan_function(Launch("f", code="é" * room), "3.11").embedded


def test_a_handler_of_another_module_keeps_it() -> None:
    launch = embed_code(Launch("other:f", code_src="./a/fn.py", init_function="a.fn:i"), b"x = 1")
    assert (launch.handler, launch.init_function) == ("other:f", "i")


def test_a_dollar_of_the_code_is_none_that_kubernetes_sees() -> None:
    launch = Launch("f", code="x = '$$(HOME)'")
    env = {one["name"]: one["value"] for one in plan_function(launch, "3.11").document["spec"]["env"]}
    assert "$" not in env["NUWRAP_LAUNCH"]
    assert json.loads(env["NUWRAP_LAUNCH"])["code"] == launch.code


def test_with_an_image_it_is_installed_before_the_processor_begins_and_nothing_is_built() -> None:
    spec = plan_function(Launch("f", code="x = 1"), "3.11", image="own:1").document["spec"]
    (fetch,) = spec["initContainers"]
    assert (spec["image"], fetch["image"], fetch["args"], fetch["env"]) == ("own:1", "own:1", ["prepare"], spec["env"])
    places = {one["volumeMount"]["mountPath"] for one in spec["volumes"]}
    assert {one["value"] for one in spec["env"] if one["name"] in ("NUWRAP_WORK", "NUWRAP_CACHE")} == places
    assert "build" not in spec


# Under the real processor.


@pytest.fixture
def programs(tmp_path: Path) -> str:
    """A PATH with a real processor under that name, `nuwrap-host`, and what else there is."""
    path = os.environ.get("NUWRAP_PROCESSOR") or shutil.which("processor")
    if not path:
        pytest.skip("NOT TESTED: there is no Nuclio processor; name one by NUWRAP_PROCESSOR")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/processor").symlink_to(path)
    return os.pathsep.join([str(tmp_path / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])


@contextmanager
def running(folder: Path, command: str, environ: Mapping[str, str], admin: str) -> Iterator[None]:
    """Run a line of bash until the body is over, from when it is ready."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", f"exec env {command}"],
            cwd=folder,
            env=clean_environment(environ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + 60
        while not is_ready(admin):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < until, (folder / "log").read_text()
            time.sleep(0.05)
        yield
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_ports() -> tuple[str, str]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        return str(one.getsockname()[1]), str(two.getsockname()[1])


def test_the_command_that_is_printed_serves_the_function(run_nuwrap: Nuwrap, tmp_path: Path, programs: str) -> None:
    write_function(tmp_path, code=ADD, init_function="setup")
    port, admin = free_ports()
    told = made(run_nuwrap, "-p", "y=20", "--init-param", "base=100", "--port", port, "--admin-port", admin)
    (command,) = told["next"]["where the processor is"]
    with running(tmp_path, command, {"PATH": programs, "TMPDIR": str(tmp_path)}, f"http://127.0.0.1:{admin}"):
        assert call(f"http://127.0.0.1:{port}", {"x": 3}) == (200, b"123")


@pytest.mark.parametrize("size", [0, INLINE_BYTES], ids=["in a variable", "in a file"])
def test_a_processor_with_the_functions_variables_fetches_the_code_itself(
    run_nuwrap: Nuwrap, tmp_path: Path, programs: str, size: int
) -> None:
    write_function(tmp_path, code=f"{ADD}# {'x' * size}", init_function="setup")
    port, admin = free_ports()
    made(run_nuwrap, "--init-param", "base=1", "--port", port, "--admin-port", admin, "--workers", "2")
    environ = dict(variables(tmp_path))
    for name, mounted in (("NUCLIO_PYTHON_WRAPPER_PATH", "/opt/nuwrap"), ("NUWRAP_LAUNCH", "@/etc/nuwrap/launch")):
        here = {"/opt/nuwrap": ensure_tree(os.environ), "@/etc/nuwrap/launch": f"@{tmp_path}/nuclio"}[mounted]
        environ[name] = environ[name].replace(mounted, here)
    command = "processor --config nuclio/processor.yaml --platform-config nuclio/platform.yaml"
    environ |= {"PATH": programs, "TMPDIR": str(tmp_path)}
    with running(tmp_path, command, environ, f"http://127.0.0.1:{admin}"):
        assert call(f"http://127.0.0.1:{port}", {"x": 3}) == (200, b"4")
