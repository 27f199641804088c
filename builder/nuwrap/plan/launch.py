"""From a function and a task to the launch document: the one place that knows which field goes where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nuwrap.spec.function import Function
from nuwrap.spec.run_values import RunValues
from nuwrap.spec.task import JobTask, ServeTask, Task
from nuwrap_runtime.launch import Launch, Serve, parse_launch

GPU_WORKERS = 1


def plan_run(
    function: Function,
    values: RunValues,
    *,
    run: str,
    inputs: Mapping[str, str],
    entities: Mapping[str, Mapping[str, Any]],
    output_path: str = "",
) -> Launch:
    """Return the launch document of a job or a service with these values; see `plan_launch`.

    `inputs` are the values' inputs as `store://` keys, each with its entry in `entities`. `output_path` replaces the
    one of the values, where it is not "". Raises LaunchError.
    """
    resolved: dict[str, Any] = {"run": run, "inputs": inputs, "entities": entities, "gpu": values.gpu}
    if output_path:
        resolved["output_path"] = output_path
    if values.action == "serve":
        return plan_serve(function, ServeTask(**_take(ServeTask, values, resolved)))
    return plan_launch(function, JobTask(**_take(JobTask, values, resolved)))


def _take(kind: type[Task], values: RunValues, resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Return the task's fields: those resolved, else those that were given."""
    given = {name: getattr(values, name) for name in values.model_fields_set}
    return {name: one for name, one in {**given, **resolved}.items() if name in kind.__dataclass_fields__}


def plan_launch(function: Function, task: JobTask) -> Launch:
    """Return the job's launch document.

    A relative `code_src` stays as it is: a single file is delivered under that path, so the platform starts the host
    in the folder the path starts from. `python` is the task's, else left to the platform. Raises LaunchError for
    values that do not go together, such as a name in inputs and parameters.
    """
    return _checked(replace(_fill(function, task), mode="job", output_path=task.output_path))


def plan_serve(function: Function, task: ServeTask) -> Launch:
    """Return the service's launch document; see `plan_launch`. An address that is not given is left to the platform."""
    launch = replace(_fill(function, task), mode="serve", serve=_plan_addresses_and_limits(task))
    return _checked(launch if task.concurrency is None else replace(launch, concurrency=task.concurrency))


def _plan_addresses_and_limits(task: ServeTask) -> Serve:
    asked = {name: getattr(task, name, None) for name in Serve.__dataclass_fields__}
    if asked["workers"] is None and task.gpu:
        asked["workers"] = GPU_WORKERS
    return Serve(**{name: value for name, value in asked.items() if value is not None})


def _fill(function: Function, task: Task) -> Launch:
    plain = Launch(handler="")
    return Launch(
        project=function.project,
        function=function.name,
        run=task.run,
        handler=function.handler,
        init_function=function.init_function,
        code_src=function.code_src,
        code=function.code,
        base64=function.base64,
        requirements=function.requirements,
        inputs=task.inputs,
        entities=task.entities,
        parameters=task.parameters,
        init_parameters=task.init_parameters,
        secrets=task.secrets,
        timeout_s=task.timeout_s,
        grace_s=plain.grace_s if task.grace_s is None else task.grace_s,
        python=task.python or plain.python,
        refresh=task.refresh,
        refresh_code=task.refresh_code,
    )


def _checked(launch: Launch) -> Launch:
    return parse_launch(launch.to_document())
