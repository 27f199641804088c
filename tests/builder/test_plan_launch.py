"""Plans: from a function and a task to the launch document."""

from __future__ import annotations

from typing import Any

import pytest

from nuwrap.errors import NuwrapError
from nuwrap.plan.launch import plan_launch, plan_run, plan_serve
from nuwrap.spec.function import Function, make_function
from nuwrap.spec.run_values import make_run_values
from nuwrap.spec.task import JobTask, ServeTask, ServeValues

RUN = "5ce1b6b0-8f4e-4d9a-9c43-24b4c0a9e3f1"


def function(**changes: Any) -> Function:
    fields = {"name": "fn", "kind": "python", "handler": "f", "python_version": "PYTHON3_10", "code_src": "src/fn.py"}
    return make_function({**fields, **changes})


def test_the_plainest_plan_says_no_more_than_it_must() -> None:
    document = {"api": "nuwrap/v1", "function": "fn", "run": RUN, "handler": "f", "code_src": "src/fn.py"}
    assert plan_launch(function(), JobTask(run=RUN)).to_document() == document


def test_every_value_of_function_and_task_arrives() -> None:
    key = "store://p/dataitem/table/di:1"
    task = JobTask(
        run=RUN,
        inputs={"di": key},
        entities={key: {"kind": "table", "path": "/d.csv"}},
        parameters={"x": 3},
        init_parameters={"m": [1]},
        secrets=("TOKEN",),
        timeout_s=2.5,
        grace_s=0,
        output_path="/out",
        python="/usr/bin/python3",
        refresh=True,
        refresh_code=True,
    )
    document = plan_launch(function(project="p", init_function="i", requirements=["numpy"]), task).to_document()
    for name in JobTask.__dataclass_fields__:
        expected = getattr(task, name)
        assert document[name] == (list(expected) if isinstance(expected, tuple) else expected)
    assert (document["project"], document["init_function"], document["requirements"]) == ("p", "i", ["numpy"])


def test_a_name_in_inputs_and_parameters_is_refused() -> None:
    key = "store://p/dataitem/table/x:1"
    task = JobTask(run=RUN, inputs={"x": key}, entities={key: {"kind": "table", "path": "/d"}}, parameters={"x": 1})
    with pytest.raises(NuwrapError, match=r"inputs\.x: is in parameters too") as caught:
        plan_launch(function(), task)
    assert caught.value.exit_code == 2


def test_the_plainest_service_is_its_mode_and_the_function() -> None:
    plain = plan_launch(function(), JobTask(run=RUN)).to_document()
    assert plan_serve(function(), ServeTask(run=RUN)).to_document() == {**plain, "mode": "serve"}


def test_every_value_of_a_service_arrives() -> None:
    values: dict[str, Any] = {
        "port": 0,
        "admin_port": 9,
        "address": "0.0.0.0",  # noqa: S104
        "workers": 3,
        "max_inflight": 5,
        "max_body_bytes": 7,
        "access_log": True,
    }
    shared: dict[str, Any] = {"parameters": {"x": 3}, "timeout_s": 1, "grace_s": 2, "concurrency": 4, "refresh": True}
    assert set(ServeValues.__dataclass_fields__) == {*values, "concurrency", "gpu"}
    document = plan_serve(function(), ServeTask(run=RUN, **shared, **values)).to_document()
    assert document["serve"] == values
    assert {key: document[key] for key in shared} == shared


@pytest.mark.parametrize(
    ("task", "workers"),
    [
        (ServeTask(run=RUN), 2),
        (ServeTask(run=RUN, gpu=1), 1),
        (ServeTask(run=RUN, gpu=4), 1),
        (ServeTask(run=RUN, gpu=1, workers=2), 2),
        (ServeTask(run=RUN, workers=8), 8),
    ],
    ids=["nothing asked", "a GPU", "four GPUs", "a GPU and two workers", "eight workers"],
)
def test_a_function_on_a_gpu_has_one_worker_unless_more_are_asked_for(task: ServeTask, workers: int) -> None:
    assert plan_serve(function(), task).serve.workers == workers


def test_a_service_that_does_not_fit_is_refused_as_a_launch() -> None:
    with pytest.raises(NuwrapError, match=r"serve\.workers: .*0") as caught:
        plan_serve(function(), ServeTask(run=RUN, workers=0))
    assert caught.value.exit_code == 2


def test_the_values_of_a_run_become_the_same_plan() -> None:
    key = "store://p/dataitem/table/di:1"
    entities = {key: {"kind": "table", "path": "/d.csv"}}
    shared: dict[str, Any] = {"parameters": {"x": 3}, "secrets": ("T",), "timeout_s": 2.5, "grace_s": 0.0}
    values = make_run_values("job", {**shared, "secrets": ["T"], "inputs": {"di": "d.csv"}, "output_path": "/out"})
    planned = plan_run(function(), values, run=RUN, inputs={"di": key}, entities=entities)
    assert planned == plan_launch(
        function(), JobTask(run=RUN, inputs={"di": key}, entities=entities, output_path="/out", **shared)
    )
    assert plan_run(function(), values, run=RUN, inputs={}, entities={}, output_path="/o").output_path == "/o"


@pytest.mark.parametrize(("gpu", "workers"), [(0, 2), (1, 1), ("2", 1), ({"limits": 1}, 1)])
def test_the_values_of_a_service_become_the_same_plan(gpu: Any, workers: int) -> None:
    values = make_run_values("serve", {"port": 0, "access_log": True, "concurrency": 4, "resources": {"gpu": gpu}})
    planned = plan_run(function(), values, run=RUN, inputs={}, entities={})
    assert (planned.mode, planned.serve.port, planned.serve.access_log, planned.concurrency) == ("serve", 0, True, 4)
    assert planned.serve.workers == workers


def test_init_parameters_without_an_init_function_are_refused() -> None:
    values = make_run_values("job", {"init_parameters": {"m": 1}})
    with pytest.raises(NuwrapError, match="no init_function that gets them"):
        plan_run(function(), values, run=RUN, inputs={}, entities={})
