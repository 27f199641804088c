"""The `network` block in builds, with real engines: an index with an authority of its own, and nothing of it left."""

from __future__ import annotations

import json
import os
import secrets
import ssl
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cluster_runs import Kube, make_person
from kaniko_lab import REASON, executor_image
from lab import docker, remove_tags
from orders import make_order
from registries import make_authority, make_certificate

from nuwrap.cluster.client import Cluster
from nuwrap.engines.kaniko_argv import DEFAULT_IMAGE, Executor, build_arguments, build_environment
from nuwrap.engines.kaniko_room import Room, list_files
from nuwrap.errors import UsageError
from nuwrap.sdk import context
from nuwrap.spec.build import BuildSettings
from nuwrap.store.network import network_of_steps

PEM = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"
SETTINGS = {"network.index": [], "network.ca": "", "network.proxies": {}}
NETWORK = {"index": ["https://index.example/simple"], "ca_text": PEM, "proxies": {"https": "http://proxy.example"}}


class Index:
    """A package index on the address by which containers reach this machine; `asked` are the paths."""

    def __init__(self, folder: Path, address: str) -> None:
        self.authority, self.asked = make_authority(folder), list[str]()
        certificate, key = make_certificate(folder, "index", address)
        asked = self.asked

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                super().do_GET()

            def log_message(self, *_told: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer((address, 0), partial(Handler, directory=str(folder / "served")))
        secured = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        secured.load_cert_chain(certificate, key)
        self.server.socket = secured.wrap_socket(self.server.socket, server_side=True)
        self.place = f"{address}:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    address = docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}").strip()
    if not address:
        pytest.skip("Docker has no bridge by which a container reaches this machine")
    page = tmp_path / "served" / "simple" / "twig"
    page.mkdir(parents=True)
    about = "Metadata-Version: 2.1\nName: twig\nVersion: 1.0\n"
    with zipfile.ZipFile(page / "twig-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("twig.py", "VERSION = '1.0'\n")
        wheel.writestr("twig-1.0.dist-info/METADATA", about)
        wheel.writestr("twig-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("twig-1.0.dist-info/RECORD", "twig.py,,\n")
    (page / "index.html").write_text('<a href="twig-1.0-py3-none-any.whl">twig-1.0-py3-none-any.whl</a>')
    try:
        made = Index(tmp_path, address)
    except OSError as exc:
        pytest.skip(f"Docker's daemon is on another machine: {exc}")
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def person(
    index: Index, pushed_images: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Kube, str]]:
    """Who builds without wheels in the context, and where the images go."""
    registry, name = pushed_images.partition("/")[0], f"nuwrap-test-{secrets.token_hex(6)}"
    kube = make_person(
        tmp_path, monkeypatch, {"images.registry": pushed_images, "build.registry": f"{registry}/{name}"}
    )
    kube.set("build.wheels", "never")
    kube.set("network.index", f"https://{index.place}/simple")
    kube.set("network.ca", index.authority)
    yield kube, f"{registry}/{name}"
    context.close()
    remove_tags(registry, f"{name}/p-fn")


def check_image(build: Any, index: Index) -> None:
    """See that the image has the requirement, and nothing of the road on which it came."""
    assert build.state == "COMPLETED", (build.status.message, build.logs())
    assert any(path.endswith(".whl") for path in index.asked)
    image = build.result("image")
    docker("pull", "--quiet", image)
    try:
        told = docker("image", "inspect", image) + docker("image", "history", "--no-trunc", image)
        unique = Path(index.authority).read_text().splitlines()[3]
        look = "python3 -c 'import twig; print(twig.VERSION)'; grep -rlsF"
        look += f" -e {unique} -e {index.place} /etc /opt /run /tmp /usr /var /work; true"
        found = docker("run", "--rm", "--user", "0", "--entrypoint", "sh", image, "-c", look)
    finally:
        docker("image", "rm", "--force", image)
    assert found == "1.0\n"
    assert "requirements.txt" in told
    for text in (index.place, "CERTIFICATE", "proxy.invalid", "/kaniko/"):
        assert text not in told


@pytest.mark.parametrize("engine", ["docker", "kaniko"])
def test_requirements_come_from_the_networks_index(person: tuple[Kube, str], index: Index, engine: str) -> None:
    kube, _ = person
    if engine == "kaniko":
        if not executor_image():
            pytest.skip(REASON)
        kube.set("build.kaniko_image", executor_image())
    kube.set("network.proxies", f"http=http://proxy.invalid:1,no={index.place.partition(':')[0]};127.0.0.1")
    tell = 'case "$http_proxy" in *.invalid:1) ;; *) exit 1;; esac'  # its own text stands in the history
    function = kube.function("add", requirements=["twig"])
    build = function.run("build", platform="local", engine=engine, instructions=[tell]).wait(300, log_info=False)
    check_image(build, index)


def test_requirements_come_from_it_in_a_cluster_too(
    person: tuple[Kube, str], index: Index, cluster: Cluster, pushed_images: str, tmp_path: Path
) -> None:
    image, (kube, _) = executor_image(), person
    if not image:
        pytest.skip(REASON)
    pushed, name = f"{pushed_images}/kaniko:2", f"nuwrap-test-{secrets.token_hex(4)}"
    docker("tag", image, pushed)
    docker("push", "--quiet", pushed)
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "host.yaml").write_text("pod: {hostNetwork: true, dnsPolicy: ClusterFirstWithHostNet}\n")
    kube.set("build.kaniko_image", pushed)
    kube.set("kubernetes.build_namespace", name)
    kube.set("kubernetes.profiles", str(tmp_path / "profiles"))
    labels = {"pod-security.kubernetes.io/enforce": "privileged"}
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    try:
        function = kube.function("add", requirements=["twig"])
        build = function.run("build", platform="kubernetes", profile="host").wait(300, log_info=False)
        check_image(build, index)
    finally:
        cluster.delete("Namespace", name)
        docker("image", "rm", "--force", pushed)


def test_a_block_is_given_without_its_paths(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(PEM)
    told: list[str] = []
    assert network_of_steps({}, SETTINGS, (), told.append) == {}
    values = {**SETTINGS, "network.ca": str(tmp_path / "ca.pem"), "network.index": ["https://a.example"]}
    assert network_of_steps({}, values, (), told.append) == {"ca_text": PEM, "index": ["https://a.example"]}
    own = json.dumps({"ca": str(tmp_path / "ca.pem"), "index": ["https://mine.example"]})
    assert network_of_steps({"NUWRAP_NETWORK": own}, values, (), told.append) == {
        "ca_text": PEM, "index": ["https://mine.example"],
    }  # fmt: skip
    assert network_of_steps({"NUWRAP_NETWORK": own}, values, ["NUWRAP_NETWORK"], told.append) == {}
    assert told == []


@pytest.mark.parametrize("block", [{"index": ["https://me:pw@i.example"]}, {"proxies": {"https": "http://me:pw@p"}}])
def test_a_log_in_goes_to_no_engine(block: dict[str, Any]) -> None:
    told: list[str] = []
    assert network_of_steps({"NUWRAP_NETWORK": json.dumps(block)}, SETTINGS, (), told.append) == {}
    assert "has a log-in" in told[0]
    assert "pw" not in told[0]


@pytest.mark.parametrize("text", ["{", "[]", '{"indx": []}'])
def test_a_variable_that_is_no_block_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="NUWRAP_NETWORK cannot be read"):
        network_of_steps({"NUWRAP_NETWORK": text}, SETTINGS, (), print)


@pytest.mark.parametrize("has_mounts", [True, False], ids=["mounts secrets", "does not"])
def test_an_executor_of_any_make_gets_the_block_as_a_file(tmp_path: Path, has_mounts: bool) -> None:
    line = 'RUN --mount=type=secret,id=NUWRAP_NETWORK,required=true ["nuwrap-host","install"]'
    order = make_order(
        tmp_path, ["FROM scratch", line], destinations=["r.example/x:1"], environ=dict(os.environ), network=NETWORK,
        settings=BuildSettings(kaniko_image=DEFAULT_IMAGE),
    )  # fmt: skip
    room = Room("/kaniko/nuwrap")
    files = {one.place: one.content for one in list_files(order, room, {})}
    assert json.loads(files["/kaniko/nuwrap/secrets/NUWRAP_NETWORK"]) == NETWORK
    assert files[room.dockerfile].decode().splitlines()[1:3] == ["ARG NUWRAP_SECRETS", line]
    flags = {"context", "dockerfile", "destination", "digest-file", "log-format", "build-arg", "push-retry",
             "image-name-tag-with-digest-file", "no-push", *(["secret"] if has_mounts else [])}  # fmt: skip
    argv = build_arguments(order, room, Executor(frozenset(flags))).argv
    mounted = "--secret=id=NUWRAP_NETWORK,src=/kaniko/nuwrap/secrets/NUWRAP_NETWORK"
    assert (mounted in argv, "--build-arg=NUWRAP_SECRETS=/kaniko/nuwrap/secrets" in argv) == (
        has_mounts,
        not has_mounts,
    )
    assert "--build-arg=HTTPS_PROXY=http://proxy.example" in argv
    assert build_environment(order, room)["https_proxy"] == "http://proxy.example"
    assert "CERTIFICATE" not in " ".join(argv)
