"""From a function and a task to the launch document of a job: the one place that knows which field goes where."""

from __future__ import annotations

from nuwrap.spec.function import Function
from nuwrap.spec.task import JobTask
from nuwrap_runtime.launch import Launch, parse_launch


def plan_launch(function: Function, task: JobTask) -> Launch:
    """Return the job's launch document.

    A relative `code_src` stays as it is: a single file is delivered under that path, so the platform starts the host
    in the folder the path starts from. `python` is the task's, else left to the platform. Raises LaunchError for
    values that do not go together, such as a name in inputs and parameters.
    """
    plain = Launch(handler="")
    launch = Launch(
        mode="job",
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
        output_path=task.output_path,
        python=task.python or plain.python,
        refresh=task.refresh,
    )
    return parse_launch(launch.to_document())
