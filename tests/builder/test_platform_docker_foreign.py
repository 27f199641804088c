"""Platform `docker`: images that are not ours, and places that a container gets beside its own."""

from __future__ import annotations

import io
import ipaddress
import json
import os
import secrets
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from container_images import build, left_of, own_images
from container_runs import Runner, run, wait_for
from lab import docker, image_name, python_image, registry

from nuwrap.errors import PlatformError
from nuwrap.spec.images import python_image as python_image_name
from nuwrap.spec.images import runtime_image
from nuwrap_runtime import __version__
from nuwrap_runtime.errors import SourceError

__all__ = ["image_name", "own_images", "python_image", "registry", "run"]

SEES = (
    "import os\ndef f():\n    def open_(path):\n        open(path + '/x', 'w').close()\n        return True\n"
    "    return os.getuid(), [open_(path) for path in ('/work', '/cache', '/tmp')], os.access('/opt/nuwrap', os.W_OK)"
)


@pytest.fixture
def foreign(python_image: Callable[[str], str]) -> str:
    return python_image("3.11")


def test_a_foreign_image_gets_the_runtime_brought_in(run: Runner, foreign: str) -> None:
    ended = run(SEES, container={"base_image": foreign})
    assert (ended.code, ended.results) == (0, [8877, [True, True, True], False]), ended.log
    assert left_of(ended.run) == ""


def test_runs_that_begin_at_once_share_one_volume_with_the_runtime(
    run: Runner, foreign: str, own_images: str, image_name: str, tmp_path: Path
) -> None:
    (tmp_path / "context").mkdir()
    runtime = f"{image_name}/{runtime_image('', __version__)}"
    build(tmp_path / "context", f"FROM {runtime_image(own_images, __version__)}\nLABEL other={image_name}\n", runtime)
    volume = f"nuwrap-runtime-{json.loads(docker('image', 'inspect', runtime))[0]['Id'].rpartition(':')[2][:16]}"
    container = {"base_image": foreign, "images_registry": image_name}
    try:
        with ExitStack() as stack:
            started = [stack.enter_context(run.started(SEES, container=container)) for _ in range(4)]
            assert [one.code for one in started] == [0, 0, 0, 0], started[0].log
        assert docker("volume", "inspect", "--format", "{{.Name}}", volume).strip() == volume
    finally:
        docker("rm", volume)
        docker("volume", "rm", volume)
        docker("image", "rm", runtime)


def test_requirements_are_installed_once_for_all_runs(run: Runner, foreign: str) -> None:
    code = "import six\ndef f(): return six.__name__"
    for _ in range(2):
        ended = run(code, container={"base_image": foreign}, requirements=("six",))
        assert (ended.code, ended.results) == (0, ["six"]), ended.log
    assert ended.result["seconds"]["requirements"] < 2


@pytest.mark.parametrize("user", ["app", "1500"], ids=["by name", "by number"])
def test_a_foreign_images_own_user_stays(run: Runner, foreign: str, image_name: str, tmp_path: Path, user: str) -> None:
    (tmp_path / "context").mkdir()
    text = f"FROM {foreign}\nRUN useradd --uid 1500 app\nUSER {user}\n"
    build(tmp_path / "context", text, image_name)
    with files({"/code.zip": archive("import os\ndef f(): return os.getuid()")}) as address:
        ended = run(code_src=f"{address}/code.zip", container={"image": image_name})
    assert (ended.code, ended.results) == (0, [1500]), ended.log


@contextmanager
def files(found: dict[str, bytes]) -> Iterator[str]:
    """Serve files where containers find them; gives the address."""
    (network,) = json.loads(docker("network", "inspect", "bridge"))
    gateway = str(ipaddress.ip_network(network["IPAM"]["Config"][0]["Subnet"])[1])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = found.get(self.path, b"")
            self.send_response(200 if body else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((gateway, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://{gateway}:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def archive(code: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as stream:
        stream.writestr("main.py", code)
    return made.getvalue()


def test_code_and_inputs_from_elsewhere_are_fetched_by_our_own_image(
    run: Runner, foreign: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import os\ndef f(di): return open(di.path).read(), [n for n in os.environ if 'TOKEN' in n],"
        " [e for e in open('/proc/1/environ', 'rb').read().split(b'\\0') if b'TOKEN' in e] == []"
    )
    monkeypatch.setenv("NUWRAP_SOURCE_GIT_TOKEN", "hidden-token")
    key = "store://default/dataitem/table/data:1"
    with files({"/code.zip": archive(code), "/data.csv": b"a,b\n"}) as address:
        ended = run(
            code_src=f"{address}/code.zip",
            inputs={"di": key},
            entities={key: {"kind": "table", "path": f"{address}/data.csv"}},
            container={"base_image": foreign},
        )
    assert (ended.code, ended.results) == (0, ["a,b\n", [], True]), ended.log
    assert left_of(ended.run) == ""


def test_code_that_cannot_be_fetched_is_exit_3_with_the_reason(run: Runner, foreign: str) -> None:
    with files({}) as address:
        ended = run(code_src=f"{address}/code.zip", container={"base_image": foreign})
    assert ended.code == 3, ended.log
    assert ended.result["failure"]["phase"] == "source"
    assert "404" in ended.result["failure"]["message"]
    assert left_of(ended.run) == ""


def test_a_foreign_image_without_our_own_ones_names_what_makes_them(run: Runner, foreign: str) -> None:
    run.registry = ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nuwrap.platforms.docker_images.__version__", "0.0.0")
        with pytest.raises(PlatformError, match=r"'nuwrap/runtime:0\.0\.0' is not here.*make build-images"):
            run.place("def f(): pass", container={"base_image": foreign, "images_registry": ""})
        with pytest.raises(PlatformError, match=r"'nuwrap/python:0\.0\.0-3\.11' is not here.*make build-images"):
            run.place("def f(): pass", container={"images_registry": ""})


def test_an_image_that_is_nowhere_says_so(run: Runner) -> None:
    with pytest.raises(PlatformError, match=r"image '127\.0\.0\.1:9/nowhere:1' cannot be pulled"):
        run.place("def f(): pass", container={"image": "127.0.0.1:9/nowhere:1"})
    ended = run("def f(): pass", container={"base_image": "127.0.0.1:9/nowhere:1"})
    assert ended.code != 0
    assert "nuwrap  error: image '127.0.0.1:9/nowhere:1' cannot be pulled" in ended.log


def test_an_image_of_a_registry_is_pulled(run: Runner, foreign: str, image_name: str, registry: str) -> None:
    name = f"{registry}/{image_name}:1"
    docker("tag", foreign, name)
    docker("push", name)
    docker("rmi", name)
    ended = run("def f(): return 1", container={"image": name})
    assert (ended.code, ended.results) == (0, [1]), ended.log
    assert run.warnings == [f"image {name!r} is not here yet: it is pulled first"]


def test_code_in_an_image_runs_though_its_path_is_not_here(
    run: Runner, own_images: str, image_name: str, tmp_path: Path
) -> None:
    folder = tmp_path / "context"
    (folder / "function").mkdir(parents=True)
    (folder / "function/main.py").write_text("def f(): return 'baked'")
    (folder / "source.json").write_text('{"api": "nuwrap/v1", "code_src": "app", "revision": "sha256:1"}')
    text = (
        f"FROM {python_name(own_images)}\nCOPY function /opt/function\nCOPY source.json /opt/nuwrap-image/source.json\n"
        "LABEL dev.nuwrap.content=1\nENV NUWRAP_HANDLER=another NUWRAP_LAUNCH=@/nowhere\n"
    )
    build(folder, text, image_name)
    ended = run(code_src="app", container={"image": image_name})
    assert (ended.code, ended.results) == (0, ["baked"]), ended.log
    with pytest.raises(SourceError, match="code_src 'app' does not exist"):
        run.place(code_src="app", container={"image": image_name}, refresh_code=True)
    (run.base / "app").mkdir()
    (run.base / "app/main.py").write_text("def f(): return 'new'")
    ended = run(code_src="app", container={"image": image_name}, refresh_code=True)
    assert (ended.code, ended.results) == (0, ["new"]), ended.log


def python_name(registry: str) -> str:
    return python_image_name(registry, __version__, "3.11")


def test_an_image_of_another_api_is_refused(run: Runner, foreign: str, image_name: str, tmp_path: Path) -> None:
    (tmp_path / "context").mkdir()
    build(tmp_path / "context", f"FROM {foreign}\nLABEL dev.nuwrap.api=nuwrap/v9\n", image_name)
    with pytest.raises(PlatformError, match="speaks 'nuwrap/v9', this nuwrap 'nuwrap/v1'; build the image anew"):
        run.place("def f(): pass", container={"image": image_name})


def test_an_image_without_python_says_what_it_needs(run: Runner, image_name: str, tmp_path: Path) -> None:
    (tmp_path / "context").mkdir()
    build(tmp_path / "context", "FROM scratch\nLABEL dev.nuwrap.api=nuwrap/v1\n", image_name)
    ended = run("def f(): pass", container={"image": image_name})
    assert ended.code != 0
    assert f"image {image_name!r} has no 'python3' on its PATH that can be started" in ended.log
    assert left_of(ended.run) == ""


def test_volumes_are_places_that_can_be_written_to(run: Runner) -> None:
    shared = f"nuwrap-test-{secrets.token_hex(6)}"
    docker("volume", "create", shared)
    docker(
        "run", "--rm", "-v", f"{shared}:/v", f"{os.environ['NUWRAP_TEST_PYTHON_IMAGE']}:3.11-slim", "chmod", "777", "/v"
    )
    volumes = [
        {"volume_type": "persistent_volume_claim", "name": "kept", "mount_path": "/kept", "spec": {"size": "1Gi"}},
        {"volume_type": "shared_volume", "name": "s", "mount_path": "/s,h", "spec": {"claim_name": shared}},
        {"volume_type": "ephemeral", "name": "e", "mount_path": "/e/deep"},
        {"volume_type": "empty_dir", "name": "d", "mount_path": "/d"},
        {
            "volume_type": "empty_dir",
            "name": "m",
            "mount_path": "/m",
            "spec": {"medium": "Memory", "size_limit": "1Mi"},
        },
    ]
    code = (
        "import os\ndef f():\n    for p in ('/kept', '/s,h', '/e/deep', '/d', '/m'):\n"
        "        open(p + '/x', 'w').write('x')\n    return os.statvfs('/m').f_blocks * os.statvfs('/m').f_frsize"
    )
    ended = run(code, container={"volumes": volumes})
    try:
        assert (ended.code, ended.results) == (0, [2**20]), ended.log
        assert left_of(ended.run).split() == [f"v-{ended.run}-kept"]
        assert run.warnings == [
            "volume 'kept': size recorded, but not used; a volume of Docker has no limit and no class"
        ]
    finally:
        docker("volume", "rm", shared, f"v-{ended.run}-kept")


@pytest.mark.parametrize(
    ("volume", "told"),
    [
        ({"volume_type": "shared_volume", "name": "nowhere-there"}, "there is no Docker volume 'nowhere-there'"),
        ({"volume_type": "image", "name": "i", "spec": {"image": "a"}}, "platform 'docker' has no 'image'"),
    ],
    ids=["a shared one that is not there", "an image's"],
)
def test_a_volume_that_cannot_be_had_is_refused(run: Runner, volume: dict[str, object], told: str) -> None:
    with pytest.raises(PlatformError, match=told):
        run.place("def f(): pass", container={"volumes": [{**volume, "mount_path": "/v"}]})


def test_resources_are_limits_of_the_container(run: Runner) -> None:
    resources = {"cpu": {"requests": "500m", "limits": "1.5"}, "mem": {"requests": "64Mi", "limits": "256Mi"}}
    with run.started("import signal\ndef f(): signal.pause()", container={"resources": resources}) as under:
        wait_for(lambda: bool(docker("inspect", under.container)), under)
        found = json.loads(docker("inspect", under.container))[0]["HostConfig"]
    assert (found["NanoCpus"], found["CpuShares"]) == (1_500_000_000, 512)
    assert (found["Memory"], found["MemorySwap"], found["MemoryReservation"]) == (256 * 2**20, 256 * 2**20, 64 * 2**20)
