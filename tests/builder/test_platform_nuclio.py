"""From a service to a NuclioFunction, and what its controller says of it. Nothing here needs a cluster."""

from __future__ import annotations

from typing import Any

import pytest
from cluster_plans import RUN, objects, pod

from nuwrap.errors import PlatformError
from nuwrap.plan.kubernetes.request import RunObjects, SecretItem, Serving
from nuwrap.plan.nuclio_objects import Processor, plan_objects, plan_pod_of, plan_project
from nuwrap.plan.nuclio_triggers import plan_triggers
from nuwrap.platforms.nuclio_state import message_of, state_of

LAUNCH = {"api": "nuwrap/v1", "mode": "serve", "handler": "fn:main", "code": "def main(): pass", "run": RUN}
HTTP: dict[str, Any] = {"kind": "http", "name": "http", "numWorkers": 2, "attributes": {"serviceType": "ClusterIP"}}


def service(*, more: dict[str, Any] | None = None, **fields: Any) -> RunObjects:
    """Return a service as the platform plans one: what fetches is always there."""
    given = {"serving": Serving(), "launch": LAUNCH, **fields}
    return objects(pod("serve", more={"fetches": True, **(more or {})}), action="serve", **given)


def function(made: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = [one for one in made if one["kind"] == "NuclioFunction"]
    return found


def test_nuclio_is_left_to_make_the_deployment_and_its_service() -> None:
    made = plan_objects(service(), Processor("3.11"))
    assert [one["kind"] for one in made] == ["Secret", "NuclioFunction"]
    found = function(made)
    assert found["status"] == {"state": "waitingForResourceConfiguration"}
    assert found["metadata"]["labels"]["nuclio.io/project-name"] == plan_project(service())["metadata"]["name"]
    assert (found["spec"]["runtime"], found["spec"]["handler"]) == ("python:3.11", "fn:main")
    assert "build" not in found["spec"]


def test_a_stable_name_is_a_service_of_ours() -> None:
    made = plan_objects(service(serving=Serving(service_name="live")), Processor("3.11"))
    assert [one["kind"] for one in made] == ["Secret", "Service", "NuclioFunction"]


def test_what_is_installed_is_there_before_the_processor_begins() -> None:
    spec = function(
        plan_objects(service(more={"store_credentials": "s", "source_credentials": "c"}), Processor("3.11"))
    )
    (fetch,) = spec["spec"]["initContainers"]
    assert (fetch["image"], fetch["args"][0]) == (spec["spec"]["image"], "prepare")
    assert [one["secretRef"]["name"] for one in fetch["envFrom"]] == ["c", "s"]
    assert [one["secretRef"]["name"] for one in spec["spec"]["envFrom"]] == ["s"]


def test_secrets_are_files_beside_the_token_that_each_pod_of_nuclio_has() -> None:
    found = function(plan_objects(service(more={"secrets": [SecretItem("TOKEN", "kept", "TOKEN")]}), Processor("3.11")))
    places = {one["volumeMount"]["name"]: one["volumeMount"]["mountPath"] for one in found["spec"]["volumes"]}
    assert places["nuwrap-secrets"] == "/etc/nuwrap/secrets"
    for one in (found["spec"], *found["spec"]["initContainers"]):
        assert {"name": "NUWRAP_SECRETS", "value": "/etc/nuwrap/secrets"} in one["env"]


def test_the_pod_that_is_looked_at_has_all_volumes_in_each_container() -> None:
    spec = plan_pod_of(function(plan_objects(service(), Processor("3.11"))))["spec"]
    names = {one["name"] for one in spec["volumes"]}
    for one in (*spec["containers"], *spec["initContainers"]):
        assert {mount["name"] for mount in one["volumeMounts"]} == names


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"profile": {"pod": {"hostNetwork": True}}}, "'hostNetwork'.*no place"),
        ({"pull_secrets": ["a", "b"]}, "a, b.*takes one"),
    ],
)
def test_what_a_function_has_no_place_for_is_refused(more: dict[str, Any], words: str) -> None:
    with pytest.raises(PlatformError, match=words):
        plan_objects(service(more=more), Processor("3.11"))


def test_triggers_stand_beside_http() -> None:
    cron = {"kind": "cron", "attributes": {"interval": "3s"}}
    assert plan_triggers(HTTP, {"tick": cron}) == {"http": HTTP, "tick": {"name": "tick", **cron}}


def test_a_trigger_of_kind_http_changes_the_one_that_there_is() -> None:
    made = plan_triggers(HTTP, {"web": {"kind": "http", "numWorkers": 5, "attributes": {"port": 30001}}})
    attributes = {"serviceType": "ClusterIP", "port": 30001}
    assert made == {"web": {"kind": "http", "name": "web", "numWorkers": 5, "attributes": attributes}}


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        ("cron", "no mapping with a kind"),
        ({"attributes": {}}, "no mapping with a kind"),
        ({"kind": "cron", "numWorkers": "2"}, "numWorkers is '2'; allowed: a whole number"),
        ({"kind": "cron", "numWorkers": True}, "numWorkers is True"),
        ({"kind": "cron", "disabled": 1}, "disabled is 1; allowed: true or false"),
        ({"kind": "http", "attributes": {"ingresses": []}}, "attributes.ingresses"),
        ({"kind": "nats", "paths": [1]}, "each of paths"),
        ({"kind": "kafka-cluster", "password": "x"}, "ConfigMap"),
        ({"kind": "cron", "atributes": {}}, "did you mean 'attributes'"),
    ],
)
def test_a_trigger_that_the_controller_cannot_read_is_refused(trigger: Any, words: str) -> None:
    with pytest.raises(PlatformError, match=words) as caught:
        plan_triggers(HTTP, {"it": trigger})
    assert "'x'" not in str(caught.value)


def test_the_controllers_words_are_one_line_without_its_source() -> None:
    status = {
        "state": "error",
        "message": '\nError - nuclioprojects.nuclio.io "nope" not found\n    .../controller/nucliofunction.go:532\n\n'
        "Call stack:\nFailed to get project nope\n    .../controller/nucliofunction.go:532\n"
        "Failed to enrich node selectors\n    .../controller/nucliofunction.go:251\n",
    }
    told = 'Failed to enrich node selectors: Failed to get project nope: nuclioprojects.nuclio.io "nope" not found'
    assert (state_of({"status": status}), message_of({"status": status})) == ("error", told)
    assert (state_of({}), message_of({})) == ("", "")
