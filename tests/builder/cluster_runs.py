"""Runs on platform `kubernetes` as a person has them, in a namespace of the tests' own with Pod Security `restricted`.

The fixtures are in conftest.py, for all test modules.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from container_images import FUNCTION, PYTHON, RUNTIME, build
from lab import docker, is_there

from nuwrap.cluster.client import Cluster, connect
from nuwrap.docker import why_unusable
from nuwrap.errors import PlatformError
from nuwrap.sdk import context
from nuwrap.spec.images import python_image, runtime_image
from nuwrap.store.config import write_config
from nuwrap_runtime import __version__

SOURCE = """\
import time


def add(x: int, y: int = 2):
    print("adding", flush=True)
    return x + y


def lines(n: int, nap: float = 0.2):
    for number in range(n):
        print("line", number, flush=True)
        time.sleep(nap)
    return n


def flood(n: int):
    for number in range(n):
        print(f"{number:07} {'x' * 91}")


def flood_and_tick(n: int, ticks: int):
    flood(n)
    for number in range(n, n + ticks):
        print(f"{number:07} x", flush=True)
        time.sleep(0.5)


def boom():
    raise ValueError("the reason")


def fill():
    return len(bytearray(400 * 1024 * 1024))


def long():
    return "x" * 20000


def keep(project):
    project.log_artifact("a", kind="artifact", source=__file__)


def head(file):
    with open(file.as_file()) as lines:
        return lines.readline()


def load(context, key):
    with open(context.project.get_artifact(key).as_file()) as lines:
        context.user_data.first = lines.readline()


def first(context):
    return {"first": context.user_data.first}


def overwrite(file):
    open(file.as_file(), "w")


def secret(project):
    return project.get_secret("TOKEN")[::-1]


def tell(project):
    print("it is", project.get_secret("TOKEN"), flush=True)


def read(table):
    return table.as_df().shape[0]


def greet(name: str = "world"):
    return {"hello": name}


def init(context):
    raise RuntimeError("no model here")
"""


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster that `KUBECONFIG` names."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG names no cluster")
    try:
        found = connect(os.environ)
        found.version()
    except PlatformError as exc:
        pytest.skip(str(exc))
    return found


@pytest.fixture(scope="session")
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace that is gone after the tests, with all that they leave."""
    name = f"nuwrap-test-{secrets.token_hex(4)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    yield name
    cluster.delete("Namespace", name)


@pytest.fixture(scope="session")
def pushed_images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`host:port/folder` of a registry that the cluster's nodes pull from, with our images of Python 3.11."""
    import subprocess
    import sys

    registry, base = os.environ.get("NUWRAP_TEST_REGISTRY", ""), os.environ.get("NUWRAP_TEST_PYTHON_IMAGE", "")
    reason = why_unusable(os.environ)
    if reason or not (registry and base) or not is_there(f"{base}:{PYTHON}-slim"):
        pytest.skip(reason or f"NUWRAP_TEST_REGISTRY names no registry, or it has no image of Python {PYTHON}")
    folder = tmp_path_factory.mktemp("pushed")
    subprocess.run([sys.executable, "-m", "nuwrap_runtime.host.tree", str(folder / "tree")], check=True)
    place = f"{registry}/nuwrap-test-{secrets.token_hex(4)}"
    names = runtime_image(place, __version__), python_image(place, __version__, PYTHON)
    build(folder, RUNTIME, names[0])
    build(folder, FUNCTION.format(base=f"{base}:{PYTHON}-slim"), names[1])
    for name in names:
        docker("push", "--quiet", name)
    yield place
    docker("image", "rm", "--force", *names)


@pytest.fixture
def kube(namespace: str, pushed_images: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kube]:
    """A person with an empty history, whose runs go to the namespace."""
    settings = {"kubernetes.namespace": namespace, "images.registry": pushed_images, "platform": "kubernetes"}
    yield make_person(tmp_path, monkeypatch, settings)
    context.close()


def make_person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Mapping[str, str]) -> Kube:
    """Give the test a history of its own with these settings, and a folder with `fn.py` where it stands."""
    import nuwrap

    home = str(tmp_path / "home")
    monkeypatch.setenv("NUWRAP_HOME", home)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    Path("fn.py").write_text(SOURCE)
    registry = settings["images.registry"].partition("/")[0]
    for name, value in {**settings, "registries.insecure": registry}.items():
        write_config(home, name, value)
    return Kube(nuwrap, home)


class Kube:
    """The SDK, with functions of `fn.py`."""

    def __init__(self, dh: ModuleType, home: str) -> None:
        self.dh, self.home = dh, home

    def function(self, handler: str, **fields: Any) -> Any:
        """Make a function of the handler."""
        given = {"code_src": "fn.py", "handler": handler, "python_version": "PYTHON3_11", **fields}
        return self.dh.new_function("p", "fn", "python", **given)

    def job(self, handler: str, *, function: Any = None, **values: Any) -> Any:
        """Run the handler as a job to its end."""
        run = (function or self.function(handler)).run("job", **values)
        return run.wait(300, log_info=False)

    def set(self, name: str, value: str) -> None:
        """Change a setting."""
        write_config(self.home, name, value)
