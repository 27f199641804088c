"""Services that a real controller of Nuclio makes: what a person sees, and what is left there."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cluster_runs import Kube
from command_line import Nuwrap
from waiting import until

from nuwrap.cluster.client import Cluster
from nuwrap.cluster.reasons import is_main_running
from nuwrap.errors import PlatformError

KINDS = ("NuclioFunction", "Deployment", "Service", "Secret", "Pod")


def left_of(run: Any, cluster: Cluster, namespace: str) -> list[str]:
    labels = {"nuwrap.dev/run": run.id}
    return [kind for kind in KINDS if cluster.list(kind, labels=labels, namespace=namespace)]


def made(nuclio: Kube, handler: str, *, code: str = "", code_src: str = "", **fields: Any) -> Any:
    """Make a function of its own code, or of code elsewhere."""
    source = {"code": code} if code else {"code_src": code_src}
    return nuclio.dh.new_function("p", "fn", "python", handler=handler, python_version="PYTHON3_11", **source, **fields)


def test_a_service_is_called_and_leaves_nothing(nuclio: Kube, cluster: Cluster, nuclio_namespace: str) -> None:
    run = nuclio.function("greet").run(
        "serve",
        replicas=2,
        workers=1,
        resources={"cpu": "50m", "mem": "128Mi"},
        node_selector=[{"key": "kubernetes.io/os", "value": "linux"}],
        envs=[{"name": "PRICE", "value": "$(HOME) $5"}],
    )
    run.wait(300)
    assert run.invoke(json={"name": "you"}).json() == {"hello": "you"}
    (pod, _) = cluster.list("Pod", labels={"nuwrap.dev/run": run.id}, namespace=nuclio_namespace)
    (main,) = pod["spec"]["containers"]
    assert main["resources"] == {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "128Mi"}}
    assert pod["spec"]["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert pod["spec"]["securityContext"]["runAsUser"] == 8877
    run.stop()
    assert (run.state, run.status.exit_code) == ("STOPPED", 0)
    assert "Processor started" not in run.logs()
    until(lambda: not left_of(run, cluster, nuclio_namespace))


def test_init_that_fails_ends_the_service_with_the_users_own_frames(
    nuclio: Kube, cluster: Cluster, nuclio_namespace: str
) -> None:
    run = nuclio.function("greet", init_function="init").run("serve")
    with pytest.raises(PlatformError, match="no model here"):
        run.wait(300)
    assert (run.state, run.status.exit_code) == ("ERROR", 6)
    assert 'raise RuntimeError("no model here")' in run.logs()
    until(lambda: not left_of(run, cluster, nuclio_namespace))


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"code": "import nowhere\n\n\ndef greet():\n    pass\n"}, 5, "No module named 'nowhere'"),
        ({"requirements": ["nuwrap-there-is-none==9"]}, 4, "nuwrap-there-is-none"),
        ({"code_src": "git+https://127.0.0.1:9/none.git"}, 3, "127.0.0.1"),
    ],
    ids=["load", "requirements", "source"],
)
def test_what_fails_before_it_serves_is_told(nuclio: Kube, fields: dict[str, Any], code: int, words: str) -> None:
    run = made(nuclio, "greet", **{"code_src": "fn.py", **fields}).run("serve")
    with pytest.raises(PlatformError):
        run.wait(300)
    assert (run.state, run.status.exit_code) == ("ERROR", code), run.logs()
    assert words in run.status.message


def test_code_of_the_function_itself_and_requirements_serve(nuclio: Kube) -> None:
    code = "import idna\n\n\ndef f(name: str):\n    return idna.encode(name).decode()\n"
    run = made(nuclio, "f", code=code, requirements=["idna==3.10"]).run("serve", workers=1)
    run.wait(300)
    assert run.invoke(json={"name": "bücher"}).text == "xn--bcher-kva"
    run.stop()


NOWHERE = [{"key": "disk", "value": "gold"}]


def test_why_a_service_waits_is_told(nuclio: Kube, cluster: Cluster, nuclio_namespace: str) -> None:
    run = nuclio.function("greet").run("serve", node_selector=NOWHERE)
    until(lambda: "no node takes it" in run.status.message, 240)
    assert run.state == "PENDING"
    run.stop()
    assert (run.state, run.status.exit_code) == ("STOPPED", 0)
    until(lambda: not left_of(run, cluster, nuclio_namespace))


def test_a_service_that_waits_for_too_long_is_given_up(nuclio: Kube, cluster: Cluster, nuclio_namespace: str) -> None:
    nuclio.set("kubernetes.pending_timeout_s", "8")
    run = nuclio.function("greet").run("serve", node_selector=NOWHERE)
    with pytest.raises(PlatformError, match="it has not begun within 8 s"):
        run.wait(240)
    assert run.state == "ERROR"
    until(lambda: not left_of(run, cluster, nuclio_namespace))


def test_services_that_are_stopped_before_they_are_ready_hold_up_no_other(
    nuclio: Kube, cluster: Cluster, nuclio_namespace: str
) -> None:
    code = "import time\n\n\ndef init(context):\n    time.sleep(600)\n\n\ndef f():\n    return 1\n"
    function = made(nuclio, "f", code=code, init_function="init")
    waiting = [function.run("serve", workers=1) for _ in range(4)]  # as many as the controller has workers
    for run in waiting:
        labels = {"nuwrap.dev/run": run.id}
        until(lambda at=labels: any(map(is_main_running, cluster.list("Pod", labels=at, namespace=nuclio_namespace))))  # type: ignore[misc]
    until(lambda: waiting[0].status.message == "its function is loaded, and init_function runs")
    for run in waiting:
        run.stop()
        assert (run.state, run.status.exit_code) == ("STOPPED", 0)
    run = nuclio.function("greet").run("serve", workers=1)
    run.wait(300)
    assert run.invoke(json={"name": "you"}).json() == {"hello": "you"}
    run.stop()


def test_a_cron_trigger_calls_the_function_too(nuclio: Kube) -> None:
    triggers = {"tick": {"kind": "cron", "attributes": {"interval": "1s"}}}
    code = "def f(name: str = 'the clock'):\n    print('called by', name, flush=True)\n    return name\n"
    run = made(nuclio, "f", code=code).run("serve", workers=1, triggers=triggers)
    run.wait(300)
    until(lambda: run.logs().count("called by the clock") > 1)
    assert run.invoke(json={"name": "me"}).text == "me"
    run.stop()


def test_a_secret_of_this_machine_is_a_file_there_and_masked_in_the_log(nuclio: Kube) -> None:
    nuclio.set("kubernetes.send_secrets", "true")
    function = nuclio.function("tell")
    nuclio.dh.get_project("p").new_secret("TOKEN", secret_value="open-sesame")  # noqa: S106 - a test's
    run = function.run("serve", secrets=["TOKEN"], workers=1)
    run.wait(300)
    run.invoke()
    until(lambda: "it is" in run.logs())
    run.stop()
    assert "open-sesame" not in run.logs()


def test_a_colleague_finds_calls_and_stops_it(nuclio: Kube, run_nuwrap: Nuwrap, nuclio_namespace: str) -> None:
    run = nuclio.function("greet").run("serve", workers=1)
    run.wait(300)
    other = {"NUWRAP_HOME": f"{nuclio.home}-other"}
    assert run_nuwrap("config", "set", "kubernetes.namespace", nuclio_namespace, **other).returncode == 0
    listed = run_nuwrap("ps", "--platform", "nuclio", "--json", **other)
    assert run.id in [one["id"] for one in json.loads(listed.stdout)], listed.stderr
    assert json.loads(run_nuwrap("ps", "--platform", "kubernetes", "--json", **other).stdout) == []
    assert "you" in run_nuwrap("invoke", run.id, "--json", '{"name": "you"}', **other).stdout
    assert "STOPPED" in run_nuwrap("stop", run.id, **other).stdout
    until(lambda: run.state == "STOPPED")


def test_what_nuclio_cannot_do_is_refused_before_anything_is_made(nuclio: Kube, pushed_images: str) -> None:
    with pytest.raises(PlatformError, match="serves, and runs no jobs"):
        nuclio.function("greet").run("job")
    with pytest.raises(PlatformError, match="has no processor of Nuclio"):
        nuclio.function("greet", image=f"{pushed_images}/nuwrap/runtime:0.1.0").run("serve")


def test_pods_of_nuclio_are_not_restricted_ones(nuclio: Kube, namespace: str) -> None:
    nuclio.set("kubernetes.namespace", namespace)
    with pytest.raises(PlatformError, match="enforces 'baseline' at most, or platform 'kubernetes'"):
        nuclio.function("greet").run("serve")
