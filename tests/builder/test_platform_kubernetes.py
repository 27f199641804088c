"""Jobs and services in a real cluster: what a person sees, and what is left there."""

from __future__ import annotations

import base64
import json
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cluster_runs import Kube
from command_line import Nuwrap
from waiting import until

from nuwrap.cluster.client import Cluster
from nuwrap.errors import NotFound, PlatformError
from nuwrap.platforms.kubernetes_submit import manifests
from nuwrap.platforms.kubernetes_wanted import read_wanted
from nuwrap.runs import alive, order
from nuwrap.sdk import context
from nuwrap.spec.images import python_image
from nuwrap.spec.run_values import make_run_values
from nuwrap_runtime import __version__


def objects_of(cluster: Cluster, namespace: str, run: Any, kind: str) -> list[dict[str, Any]]:
    return cluster.list(kind, labels={"nuwrap.dev/run": run.id}, namespace=namespace)


def test_a_job_brings_its_results_and_its_log_and_stays_for_a_while(
    kube: Kube, cluster: Cluster, namespace: str
) -> None:
    run = kube.job("add", parameters={"x": 3})
    assert (run.state, run.result("output_0"), run.status.exit_code) == ("COMPLETED", 5, 0), run.logs()
    assert run.logs().count("adding\n") == 1
    (job,) = objects_of(cluster, namespace, run, "Job")
    assert job["spec"]["ttlSecondsAfterFinished"] == 86400
    assert job["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "nuwrap"
    (secret,) = objects_of(cluster, namespace, run, "Secret")
    assert secret["metadata"]["ownerReferences"][0]["name"] == job["metadata"]["name"]


def test_a_handler_that_raises_is_the_functions_own_failure(kube: Kube) -> None:
    run = kube.job("boom")
    assert (run.state, run.status.exit_code) == ("ERROR", 1)
    assert "ValueError: the reason" in run.status.message


def test_more_results_than_a_termination_message_holds_come_whole(kube: Kube) -> None:
    assert kube.job("long").result("output_0") == "x" * 20000


def test_a_job_that_needs_more_memory_than_it_has_is_told_so(kube: Kube) -> None:
    run = kube.job("fill", resources={"mem": "128Mi"})
    assert (run.state, run.status.exit_code) == ("ERROR", 137)
    assert "resources.mem" in run.status.message


def test_files_are_refused_where_nobody_keeps_them(kube: Kube) -> None:
    run = kube.job("keep")
    assert (run.state, run.status.exit_code) == ("ERROR", 8)
    assert "artifacts_store" in run.status.message


def test_an_image_without_the_runtime_gets_it(kube: Kube, python_image: Any) -> None:
    function = kube.function("add", base_image=python_image("3.11"))
    run = kube.job("add", function=function, parameters={"x": 1})
    assert (run.state, run.result("output_0")) == ("COMPLETED", 3), run.logs()
    assert '"root"' not in run.logs()


def test_an_input_of_this_machine_goes_along(kube: Kube) -> None:
    with open("table.csv", "w") as file:
        file.write("a,b\n1,2\n3,4\n")
    function = kube.function("read", requirements=["pandas<3"])
    run = kube.job("read", function=function, inputs={"table": "table.csv"})
    assert (run.state, run.result("output_0")) == ("COMPLETED", 2), run.logs()


def test_what_is_too_much_for_a_run_is_refused_before_anything_is_made(
    kube: Kube, cluster: Cluster, namespace: str
) -> None:
    before = len(cluster.list("Job", namespace=namespace))
    with open("data.bin", "wb") as file:
        file.write(b"x" * 800_000)
    with pytest.raises(PlatformError, match="artifacts_store"):
        kube.function("read").run("job", inputs={"table": "data.bin"})
    assert len(cluster.list("Job", namespace=namespace)) == before


def test_a_secret_is_the_namespaces_first_and_sent_only_when_asked_for(
    kube: Kube, cluster: Cluster, namespace: str
) -> None:
    function = kube.function("secret")
    kube.dh.get_project("p").new_secret("TOKEN", secret_value="of-this-machine")  # noqa: S106 - a test's
    with pytest.raises(NotFound, match=r"secret 'TOKEN'.*kubernetes.send_secrets"):
        function.run("job", secrets=["TOKEN"])
    kube.set("kubernetes.send_secrets", "true")
    run = kube.job("secret", function=function, secrets=["TOKEN"])
    assert run.result("output_0") == "of-this-machine"[::-1], run.logs()
    labels = {"nuwrap.dev/kind": "secrets", "nuwrap.dev/project": "p"}
    cluster.create(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "team", "namespace": namespace, "labels": labels},
            "data": {"TOKEN": base64.b64encode(b"of-the-cluster").decode()},
        }
    )
    try:
        run = kube.job("secret", function=function, secrets=["TOKEN"])
        assert run.result("output_0") == "of-the-cluster"[::-1], run.logs()
    finally:
        cluster.delete("Secret", "team", namespace=namespace)
    assert "of-the-cluster" not in run.logs()


def test_a_stop_ends_the_job_in_its_grace_and_it_is_no_error(kube: Kube) -> None:
    run = kube.function("lines").run("job", parameters={"n": 600})
    until(lambda: "line 1" in run.logs())
    run.stop()
    assert (run.state, run.status.exit_code) == ("STOPPED", 143)


def test_a_run_goes_on_without_its_follower_and_each_line_comes_once(kube: Kube) -> None:
    run = kube.function("lines").run("job", parameters={"n": 40})
    until(lambda: "line 3" in run.logs())
    home = context.current().home
    alive.kill(home, run.id, "supervisor", signal.SIGKILL)
    until(lambda: not alive.is_held(home, run.id))
    assert run.refresh().state == "RUNNING"
    run.wait(300, log_info=False)
    assert (run.state, run.result("output_0")) == ("COMPLETED", 40)
    told = [line for line in run.logs().splitlines() if line.startswith("line ")]
    assert told == [f"line {number}" for number in range(40)]


def test_runs_of_one_environment_have_one_follower_and_outlive_it(kube: Kube) -> None:
    function, home = kube.function("lines"), context.current().home
    runs = [function.run("job", parameters={"n": 60}) for _ in range(3)]
    for run in runs:
        until(lambda run=run: "line 1" in run.logs())  # type: ignore[misc]
    followers = {line for run in runs for line in follower_of(home, run)}
    assert len(followers) == 1
    alive.kill(home, runs[0].id, "supervisor", signal.SIGKILL)
    for run in runs:
        run.wait(300, log_info=False)
        assert (run.state, run.result("output_0")) == ("COMPLETED", 60)
        assert [line for line in run.logs().splitlines() if line.startswith("line ")] == [
            f"line {n}" for n in range(60)
        ]


def test_each_of_many_that_wait_is_told_why_and_ends_when_it_is_stopped(kube: Kube) -> None:
    nowhere = [{"key": "disk", "value": "none-has"}]
    runs = [kube.function("add").run("job", parameters={"x": 1}, node_selector=nowhere) for _ in range(6)]
    for run in runs:
        until(lambda run=run: "didn't match" in run.status.message)  # type: ignore[misc]
    for run in runs:
        run.stop()
        assert run.state == "STOPPED"


def follower_of(home: str, run: Any) -> list[str]:
    lines = Path(home, alive.FOLDER, f"{run.id}.lock").read_text().splitlines()
    return [line for line in lines if line.startswith("supervisor ")]


def test_why_a_run_waits_is_told_and_one_that_waits_for_too_long_is_given_up(
    kube: Kube, cluster: Cluster, namespace: str
) -> None:
    kube.set("kubernetes.pending_timeout_s", "8")
    run = kube.function("add").run("job", parameters={"x": 1}, node_selector=[{"key": "disk", "value": "none-has"}])
    until(lambda: run.state != "PENDING" or "node" in run.status.message)
    run.wait(120, log_info=False)
    assert run.state == "ERROR"
    assert "has not begun within 8 s" in run.status.message
    assert "didn't match" in run.status.message
    until(lambda: objects_of(cluster, namespace, run, "Job") == [])


def test_what_pod_security_forbids_is_refused_before_anything_is_made(kube: Kube, tmp_path: Any) -> None:
    profiles = tmp_path / "profiles"
    profiles.mkdir()
    (profiles / "host.yaml").write_text("pod: {hostNetwork: true}\n")
    kube.set("kubernetes.profiles", str(profiles))
    function = kube.function("add")
    with pytest.raises(PlatformError, match="violates PodSecurity"):
        function.run("job", parameters={"x": 1}, profile="host")
    with pytest.raises(PlatformError, match=r"profile 'hots' is not in .*did you mean 'host'"):
        function.run("job", parameters={"x": 1}, profile="hots")


def test_a_service_is_called_through_the_api_server_and_ends_clean(
    kube: Kube, cluster: Cluster, namespace: str
) -> None:
    run = kube.function("greet").run("serve", replicas=2)
    run.wait(300)
    assert run.invoke(json={"name": "kube"}).json() == {"hello": "kube"}
    assert "/docs" not in run.logs()  # a pod's own addresses lead nowhere from here
    (deployment,) = objects_of(cluster, namespace, run, "Deployment")
    assert deployment["spec"]["replicas"] == 2
    (service,) = objects_of(cluster, namespace, run, "Service")
    assert service["spec"]["type"] == "ClusterIP"
    assert run.status.service["cluster_url"] == f"http://{service['metadata']['name']}.{namespace}.svc:8080"
    run.stop()
    assert (run.state, run.status.exit_code) == ("STOPPED", 0)
    until(lambda: objects_of(cluster, namespace, run, "Deployment") == [])


def test_a_service_of_the_nodes_is_found_at_a_node_where_that_answers(
    kube: Kube, cluster: Cluster, namespace: str
) -> None:
    run = kube.function("greet").run("serve", service_type="NodePort", wait=True)
    hosts = [one["address"] for node in cluster.list("Node") for one in node["status"]["addresses"]]
    (service,) = cluster.list("Service", labels={"nuwrap.dev/run": run.id}, namespace=namespace)
    port = service["spec"]["ports"][0]["nodePort"]
    reached = [host for host in hosts if is_reached(host, port)]
    here = urlsplit(str(run.url))
    assert (here.hostname in reached and here.port == port) if reached else here.hostname == "127.0.0.1"
    assert run.invoke(json={"name": "you"}).json() == {"hello": "you"}
    run.stop()


def is_reached(host: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((host, port), 2):
        return True
    return False


def test_a_service_that_can_never_start_ends_with_its_reason(kube: Kube, cluster: Cluster, namespace: str) -> None:
    run = kube.function("greet", init_function="init").run("serve")
    with pytest.raises(PlatformError, match="no model here"):
        run.wait(300)
    assert (run.state, run.status.exit_code) == ("ERROR", 6)
    until(lambda: objects_of(cluster, namespace, run, "Deployment") == [])


def test_a_service_whose_program_is_not_in_its_image_ends_with_its_reason(kube: Kube, tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text("pod: {containers: [{name: main, command: [/no/such/program]}]}\n")
    kube.set("kubernetes.profiles", str(tmp_path))
    run = kube.function("greet").run("serve", profile="odd")
    with pytest.raises(PlatformError, match=r"the container cannot be started.*/no/such/program"):
        run.wait(300)
    assert (run.state, run.status.exit_code) == ("ERROR", 10)


def colleague(tmp_path: Path, run_nuwrap: Nuwrap) -> dict[str, str]:
    """The variables of somebody else, whose history is empty and whose cluster is the same."""
    other = {"NUWRAP_HOME": str(tmp_path / "colleague")}
    for name in ("images.registry", "registries.insecure", "kubernetes.namespace"):
        value = json.loads((tmp_path / "home" / "config.json").read_text())[name]
        run_nuwrap("config", "set", name, ",".join(value) if isinstance(value, list) else value, **other)
    return other


def test_a_colleague_finds_follows_and_stops_what_somebody_else_has_begun(
    kube: Kube, namespace: str, tmp_path: Path, run_nuwrap: Nuwrap
) -> None:
    job = kube.function("lines").run("job", parameters={"n": 60})
    service = kube.function("greet").run("serve")
    service.wait(300)
    other = colleague(tmp_path, run_nuwrap)
    listed = run_nuwrap("ps", "--all", "--limit", "500", "--platform", "kubernetes", "--json", **other)
    assert listed.returncode == 0, listed.stderr
    assert {job.id, service.id} <= {one["id"] for one in json.loads(listed.stdout)}
    followed = run_nuwrap("logs", "-f", job.id, **other)
    assert [line for line in followed.stdout.splitlines() if line.startswith("line ")] == [
        f"line {number}" for number in range(60)
    ], followed.stderr
    shown = json.loads(run_nuwrap("show", job.id, "--json", **other).stdout)
    assert shown["state"] == "COMPLETED"
    assert run_nuwrap("invoke", service.id, "--json", '{"name": "you"}', **other).stdout.replace(" ", "") == (
        '{"hello":"you"}'
    )
    assert "STOPPED" in run_nuwrap("stop", service.id, **other).stdout
    until(lambda: service.state != "RUNNING")
    assert service.state == "STOPPED"
    assert (
        json.loads(run_nuwrap("ls", "functions", "--json", **other).stdout) == []
    )  # no code of others has a name here


@pytest.fixture(scope="module")
def bucket(cluster: Cluster) -> Iterator[str]:
    """A bucket of an S3 server that this machine and the cluster's pods reach: on an address of the node."""
    import boto3
    from moto.server import ThreadedMotoServer

    addresses = [one for node in cluster.list("Node") for one in node["status"]["addresses"]]
    host = next(one["address"] for one in addresses if one["type"] == "InternalIP")
    server = ThreadedMotoServer(ip_address=host, port=0, verbose=False)
    try:
        server.start()
    except OSError as exc:
        pytest.skip(f"no server can be at the node's address {host}: {exc}")
    address, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{address}:{port}",
            "AWS_ACCESS_KEY_ID": "key-of-the-test",
            "AWS_SECRET_ACCESS_KEY": "secret-of-the-test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="runs")
        yield "s3://runs/team"
    server.stop()


def test_a_store_takes_what_is_large_and_keeps_what_a_job_leaves(
    kube: Kube, bucket: str, cluster: Cluster, namespace: str
) -> None:
    kube.set("artifacts_store", bucket)
    kube.set("kubernetes.send_secrets", "true")
    with open("big.csv", "w") as file:
        file.write("a,b\n" + "1,2\n" * 300_000)
    function = kube.function("read", requirements=["pandas<3"])
    run = kube.job("read", function=function, inputs={"table": "big.csv"})
    assert (run.state, run.result("output_0")) == ("COMPLETED", 300_000), run.logs()
    run = kube.job("keep")
    assert run.state == "COMPLETED", run.logs()
    (output,) = run.outputs().values()
    assert output.path.startswith(f"{bucket}/runs/{run.id}/")
    with open(output.as_file()) as file:
        assert "def keep" in file.read()
    for secret in objects_of(cluster, namespace, run, "Secret"):
        if "store" not in secret["metadata"]["name"]:
            assert "secret-of-the-test" not in str({k: base64.b64decode(v) for k, v in secret["data"].items()})
    assert "secret-of-the-test" not in run.logs()


def test_a_log_is_whole_though_the_cluster_has_turned_it_over_before_it_was_read(kube: Kube, bucket: str) -> None:
    kube.set("artifacts_store", bucket)
    kube.set("kubernetes.send_secrets", "true")
    run = kube.job("flood", parameters={"n": 1_000_000})
    assert run.state == "COMPLETED", run.logs()[-2000:]
    printed = [line for line in run.logs().splitlines() if not line.startswith("nuwrap")]
    wrong = [(number, line) for number, line in enumerate(printed) if not line.startswith(f"{number:07} x")]
    assert (len(printed), wrong[:3]) == (1_000_000, [])


def test_who_comes_late_has_what_the_cluster_has_turned_over(
    kube: Kube, bucket: str, cluster: Cluster, namespace: str, tmp_path: Path, run_nuwrap: Nuwrap
) -> None:
    kube.set("artifacts_store", bucket)
    kube.set("kubernetes.send_secrets", "true")
    run = kube.function("flood_and_tick").run("job", parameters={"n": 300_000, "ticks": 80})

    def is_turned_over() -> bool:
        pods = [pod["metadata"]["name"] for pod in objects_of(cluster, namespace, run, "Pod")]
        with suppress(PlatformError), cluster.log(pods[0], container="main", namespace=namespace) as pieces:
            return b"nuwrap-log: begins" not in next(pieces, b"nuwrap-log: begins")[:2000]
        return False

    until(lambda: run.state == "RUNNING")
    until(is_turned_over)
    other = colleague(tmp_path, run_nuwrap)
    assert run_nuwrap("ps", "--platform", "kubernetes", **other).returncode == 0
    followed = run_nuwrap("logs", "-f", run.id, **other).stdout
    assert followed.startswith("0000000 x") or "\n0000000 x" in followed
    for text in (run_nuwrap("logs", run.id, **other).stdout, run.logs()):
        lines = [line for line in text.splitlines() if not line.startswith("nuwrap")]
        assert [int(line[:7]) for line in lines] == list(range(300_080))


def placed(kube: Kube, handler: str, **values: Any) -> Any:
    """Return a run that is checked and written down, and that nobody has submitted."""
    ctx = context.current()
    kube.function(handler)
    record = ctx.store.get_function("p", "fn")
    assert record is not None
    found = order.place(ctx.store, ctx.home, record, make_run_values("job", values), say=lambda _text: None)
    alive.release(ctx.home, found.record.id, found.held)
    return kube.dh.get_run(found.record.id)


def test_a_run_that_is_stopped_before_the_cluster_has_it_never_gets_there(
    kube: Kube, cluster: Cluster, namespace: str
) -> None:
    run = placed(kube, "add", parameters={"x": 1})
    run.stop()
    assert (run.state, run.status.exit_code) == ("STOPPED", 143)
    assert objects_of(cluster, namespace, run, "Job") == []


def test_what_a_killed_process_has_left_half_made_is_gone_on_with(kube: Kube, cluster: Cluster, namespace: str) -> None:
    run = placed(kube, "add", parameters={"x": 1})
    wanted = read_wanted(run.folder)
    job = next(one for one in manifests(run.folder, wanted) if one["kind"] == "Job")
    cluster.create({**job, "spec": {**job["spec"], "suspend": True}})  # and then it was killed
    run.wait(300, log_info=False)
    assert (run.state, run.result("output_0")) == ("COMPLETED", 3), run.logs()


def test_a_cluster_that_does_not_answer_ends_no_run(
    kube: Kube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = kube.function("lines").run("job", parameters={"n": 100})
    until(lambda: "line 1" in run.logs())
    home = context.current().home
    alive.kill(home, run.id, "supervisor", signal.SIGKILL)
    until(lambda: not alive.is_held(home, run.id))
    with monkeypatch.context() as away:
        away.setenv("KUBECONFIG", str(tmp_path / "none"))
        with pytest.raises(TimeoutError):
            run.wait(3, log_info=False)
        assert run.state == "RUNNING"
        until(lambda: "as it was known last" in run.status.message)  # once who tried to follow it has given up
    run.wait(300, log_info=False)
    assert (run.state, run.result("output_0")) == ("COMPLETED", 100), run.logs()


def test_a_secret_that_was_sent_is_masked_in_the_log(kube: Kube) -> None:
    kube.set("kubernetes.send_secrets", "true")
    function = kube.function("tell")
    kube.dh.get_project("p").new_secret("TOKEN", secret_value="word-that-hides")  # noqa: S106 - a test's
    run = kube.job("tell", function=function, secrets=["TOKEN"])
    assert run.state == "COMPLETED", run.logs()
    assert "it is" in run.logs()
    assert "word-that-hides" not in run.logs()


LOAD = """\
import json, sys, time, urllib.request

failed, done, end = [], 0, time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    try:
        asked = urllib.request.Request(sys.argv[1], b'{"name": "you"}', {"Content-Type": "application/json"})
        answer = urllib.request.urlopen(asked, timeout=10)
        assert json.load(answer) == {"hello": "you"}
        done += 1
    except Exception as exc:
        failed.append(repr(exc))
print(json.dumps({"done": done, "failed": failed}))
"""


def test_a_rollout_under_load_loses_no_request(
    kube: Kube, cluster: Cluster, namespace: str, pushed_images: str
) -> None:
    run = kube.function("greet").run("serve", replicas=2).wait()
    deployment = f"nuwrap-{run.id}"
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True}
    caller = {
        "name": "main",
        "image": python_image(pushed_images, __version__, "3.11"),
        "command": ["python3", "-c", LOAD, f"http://{deployment}:8080/", "45"],
        "securityContext": {**security, "runAsUser": 8877, "seccompProfile": {"type": "RuntimeDefault"}},
    }
    about = {"name": f"load-{run.id}", "namespace": namespace}
    spec = {"restartPolicy": "Never", "containers": [caller]}
    cluster.create({"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": spec})
    until(lambda: phase(cluster, about) == "Running")
    template = {"metadata": {"annotations": {"changed": "yes"}}}
    cluster.patch("Deployment", deployment, {"spec": {"template": template}}, namespace=namespace)
    until(lambda: phase(cluster, about) == "Succeeded")
    found = cluster.get("Deployment", deployment, namespace=namespace) or {}
    assert found["status"]["updatedReplicas"] == 2
    assert found["status"]["readyReplicas"] == found["status"]["replicas"] == 2
    with cluster.log(about["name"], namespace=namespace) as pieces:
        told = json.loads(b"".join(pieces))
    run.stop()
    assert told["failed"] == []
    assert told["done"] > 100


def test_a_service_that_is_served_again_under_its_name_takes_the_place_of_the_one_before(
    kube: Kube, cluster: Cluster, namespace: str
) -> None:
    def leads_to(run: Any) -> bool:
        service = cluster.get("Service", "fn-live", namespace=namespace) or {"spec": {"selector": {}}}
        return bool(service["spec"]["selector"].get("nuwrap.dev/run") == run.id)

    first = kube.function("greet").run("serve", service_name="live").wait()
    assert leads_to(first)
    failing = kube.function("greet", init_function="init").run("serve", service_name="live")
    with pytest.raises(PlatformError, match="no model here"):
        failing.wait(200, log_info=False)
    assert leads_to(first)
    assert first.refresh().state == "RUNNING"
    second = kube.function("greet").run("serve", service_name="live").wait()
    until(lambda: leads_to(second))
    until(lambda: first.refresh().state == "STOPPED")
    assert second.invoke(json={"name": "you"}).json() == {"hello": "you"}
    with pytest.raises(PlatformError, match=r"'fn-live' already, of function 'fn' of project 'p'"):
        kube.dh.new_function(
            "other", "fn", "python", code_src="fn.py", handler="greet", python_version="PYTHON3_11"
        ).run("serve", service_name="live")
    second.stop()
    until(lambda: cluster.get("Service", "fn-live", namespace=namespace) is None)


def phase(cluster: Cluster, about: dict[str, str]) -> str:
    pod = cluster.get("Pod", about["name"], namespace=about["namespace"]) or {}
    return str(pod.get("status", {}).get("phase"))
