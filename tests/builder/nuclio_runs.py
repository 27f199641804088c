"""Services on platform `nuclio` as a person has them: a namespace that a real controller of Nuclio looks after.

`NUWRAP_NUCLIO_CONTROLLER` and `NUWRAP_PROCESSOR` name the two programs; the cluster of `KUBECONFIG` must know Nuclio's
kinds. The fixtures are in conftest.py, for all test modules.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_runs import Kube, make_person
from container_images import PYTHON, build
from lab import docker

from nuwrap.cluster.client import Cluster
from nuwrap.errors import PlatformError
from nuwrap.sdk import context
from nuwrap.spec.images import nuclio_image, python_image
from nuwrap_runtime import __version__

IMAGE = """\
FROM {base}
USER root
COPY processor /usr/local/bin/processor
ENV NUCLIO_PYTHON_WRAPPER_PATH=/opt/nuwrap/worker/nuwrap_runtime/worker/nuclio_wrapper.py
USER 8877:999
ENTRYPOINT ["/opt/nuwrap/bin/nuwrap-host", "exec", "--"]
CMD ["processor"]
"""


def program(variable: str) -> str:
    """Return the path that the variable names; without one the test is skipped."""
    path = os.environ.get(variable, "")
    if not shutil.which(path):
        pytest.skip(f"NOT TESTED: {variable} names no program of Nuclio's")
    return path


@pytest.fixture(scope="session")
def nuclio_namespace(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A namespace with a controller of its own, which this fixture starts and ends."""
    controller = program("NUWRAP_NUCLIO_CONTROLLER")
    try:
        cluster.list("NuclioFunction")
    except PlatformError as exc:
        pytest.skip(f"NOT TESTED: the cluster knows no NuclioFunction; apply the CRDs of Nuclio's chart ({exc})")
    name = f"nuwrap-test-nuclio-{secrets.token_hex(4)}"
    labels = {"pod-security.kubernetes.io/enforce": "baseline"}
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    argv = [controller, "--namespace", name, "--function-monitor-interval", "5s"]
    with (tmp_path_factory.mktemp("controller") / "log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT)
        yield name
        for one in cluster.list("NuclioFunction", namespace=name):
            cluster.delete("NuclioFunction", one["metadata"]["name"], namespace=name)
        process.terminate()
        process.wait(30)
    cluster.delete("Namespace", name)


@pytest.fixture(scope="session")
def processor_images(pushed_images: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The folder of the registry, with the image of Python 3.11 that becomes Nuclio's processor too."""
    folder = tmp_path_factory.mktemp("processor")
    shutil.copy(program("NUWRAP_PROCESSOR"), folder / "processor")
    name = nuclio_image(pushed_images, __version__, PYTHON)
    build(folder, IMAGE.format(base=python_image(pushed_images, __version__, PYTHON)), name)
    docker("push", "--quiet", name)
    yield pushed_images
    docker("image", "rm", "--force", name)


@pytest.fixture
def nuclio(
    nuclio_namespace: str, processor_images: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Kube]:
    """A person with an empty history, whose services go to the namespace."""
    settings = {"kubernetes.namespace": nuclio_namespace, "images.registry": processor_images, "platform": "nuclio"}
    yield make_person(tmp_path, monkeypatch, settings)
    context.close()
