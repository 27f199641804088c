"""Outputs of a real cluster's jobs in a claim: what one job leaves there another reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_runs import Kube
from command_line import Nuwrap

from nuwrap.cluster.client import Cluster
from nuwrap.errors import PlatformError, UsageError
from nuwrap_runtime.errors import InputsError


def make_claim(cluster: Cluster, namespace: str, name: str, project: str) -> None:
    labels = {"nuwrap.dev/project": project}
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}}
    about = {"name": name, "namespace": namespace, "labels": labels}
    cluster.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": about, "spec": spec})


@pytest.fixture(scope="module")
def claim(cluster: Cluster, namespace: str) -> Iterator[str]:
    """A claim of project `p`."""
    make_claim(cluster, namespace, "outputs", "p")
    yield "outputs"
    cluster.delete("PersistentVolumeClaim", "outputs", namespace=namespace)


def jobs(cluster: Cluster, namespace: str) -> int:
    return len(cluster.list("Job", namespace=namespace))


def test_what_a_job_leaves_in_a_claim_another_reads(kube: Kube, claim: str) -> None:
    kube.set("artifacts_store", f"pvc://{claim}/team")
    run = kube.job("keep")
    assert (run.state, run.status.exit_code) == ("COMPLETED", 0), run.logs()
    (output,) = run.outputs().values()
    assert output.path.startswith(f"pvc://{claim}/team/p/{run.id}/outputs/")
    with pytest.raises(InputsError, match=r"in a claim of a cluster.*give it to a run there.*artifacts_store s3://"):
        output.as_file()
    reader = kube.job("head", inputs={"file": output})
    assert (reader.state, reader.result("output_0")) == ("COMPLETED", "import time\n"), reader.logs()


def test_a_service_loads_what_a_job_has_left_in_a_claim(kube: Kube, claim: str) -> None:
    kube.set("artifacts_store", f"pvc://{claim}")
    (output,) = kube.job("keep").outputs().values()
    function = kube.function("first", init_function="load")
    service = function.run("serve", init_parameters={"key": output.key})
    service.wait(300)
    try:
        assert service.invoke().json() == {"first": "import time\n"}
    finally:
        service.stop()


def test_an_input_in_a_claim_cannot_be_changed(kube: Kube, claim: str) -> None:
    kube.set("artifacts_store", f"pvc://{claim}")
    (output,) = kube.job("keep").outputs().values()
    run = kube.job("overwrite", inputs={"file": output})
    assert (run.state, run.status.exit_code) == ("ERROR", 1)
    assert "Read-only file system" in run.status.message
    assert kube.job("head", inputs={"file": output}).result("output_0") == "import time\n"


def test_an_image_without_the_runtime_reads_a_claim_too(kube: Kube, claim: str, python_image: Any) -> None:
    kube.set("artifacts_store", f"pvc://{claim}")
    (output,) = kube.job("keep").outputs().values()
    function = kube.function("head", base_image=python_image("3.11"))
    run = kube.job("head", function=function, inputs={"file": output})
    assert (run.state, run.result("output_0")) == ("COMPLETED", "import time\n"), run.logs()


def test_a_claim_that_is_not_there_or_anothers_is_refused_before_anything_is_made(
    kube: Kube, cluster: Cluster, namespace: str, claim: str
) -> None:
    make_claim(cluster, namespace, "foreign", "q")
    function, before = kube.function("keep"), jobs(cluster, namespace)
    try:
        kube.set("artifacts_store", "pvc://output/team")
        with pytest.raises(PlatformError, match=rf"claim 'output': .*has no such claim; did you mean '{claim}'"):
            function.run("job")
        kube.set("artifacts_store", "pvc://foreign")
        with pytest.raises(PlatformError, match=r"claim 'foreign' is of project 'q', this run of 'p'"):
            function.run("job")
        assert jobs(cluster, namespace) == before
    finally:
        cluster.delete("PersistentVolumeClaim", "foreign", namespace=namespace)


def test_a_claim_takes_no_code_and_inputs_of_this_machine(kube: Kube, claim: str) -> None:
    kube.set("artifacts_store", f"pvc://{claim}")
    Path("data.bin").write_bytes(b"x" * 800_000)
    with pytest.raises(PlatformError, match=r"716800 bytes .*takes outputs alone.*s3://BUCKET"):
        kube.function("head").run("job", inputs={"file": "data.bin"})


def test_a_platform_that_mounts_no_claims_refuses_what_lies_in_one(kube: Kube, claim: str) -> None:
    kube.set("artifacts_store", f"pvc://{claim}")
    (output,) = kube.job("keep").outputs().values()
    with pytest.raises(UsageError, match=r"input 'file': .* is in a claim of a cluster, which platform 'local'"):
        kube.function("head").run("job", platform="local", inputs={"file": output})


def test_a_colleague_knows_an_output_by_its_place_in_the_claim(
    kube: Kube, claim: str, tmp_path: Path, run_nuwrap: Nuwrap
) -> None:
    kube.set("artifacts_store", f"pvc://{claim}")
    run = kube.job("keep")
    other = {"NUWRAP_HOME": str(tmp_path / "colleague")}
    settings = json.loads((tmp_path / "home" / "config.json").read_text())
    for name in ("images.registry", "registries.insecure", "kubernetes.namespace"):
        value = settings[name]
        run_nuwrap("config", "set", name, ",".join(value) if isinstance(value, list) else value, **other)
    run_nuwrap("ps", "--all", "--limit", "500", "--platform", "kubernetes", **other)
    run_nuwrap("logs", "-f", run.id, **other)
    shown = json.loads(run_nuwrap("show", run.id, "--json", **other).stdout)
    assert shown["state"] == "COMPLETED"
    assert f"pvc://{claim}/p/{run.id}/outputs/" in json.dumps(shown)
