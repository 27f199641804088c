"""From a function and what is known of its base image and code to the image's plan. Touches nothing.

Layers lie in the order of how seldom they change: base, runtime, instructions, requirements, code.
"""

from __future__ import annotations

import os.path
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from nuwrap.errors import SpecError
from nuwrap.plan import records
from nuwrap.plan.base_image import (
    base_faults,
    check_command,
    install_command,
    is_unknown,
    named,
    needs_python,
)
from nuwrap.plan.build_faults import (
    env_faults,
    instruction_faults,
    requirement_faults,
    secret_faults,
    source_faults,
    user_notes,
)
from nuwrap.plan.dockerfile import TEMPLATE, Sheet, read_steps, render
from nuwrap.plan.instructions import QUIET, complete
from nuwrap.plan.references import image_name, name_faults
from nuwrap.plan.rendering import template_text
from nuwrap.spec.build import (
    LABEL_API,
    LABEL_CONTENT,
    RECORDS,
    TREE,
    BuildFacts,
    BuildPlan,
    BuildSettings,
    ContextFile,
)
from nuwrap.spec.function import PYTHON_VERSIONS, Function
from nuwrap.spec.run_values import RunValues

TAG_CHARACTERS: Final = 16
WHEELS: Final = f"{RECORDS}/wheels"
NETWORK_MOUNT: Final = "--mount=type=secret,id=NUWRAP_NETWORK,required=true "
WHEELS_MOUNT: Final = f"--mount=type=bind,source=wheels,target={WHEELS} "


@dataclass(frozen=True)
class Given:
    """What a plan is made from, in one hand."""

    function: Function
    values: RunValues
    settings: BuildSettings
    facts: BuildFacts
    wheels: bool
    mounts_context: bool
    has_network: bool

    @property
    def requirements(self) -> Sequence[str]:
        """The requirements in the user's order, each once."""
        return tuple(dict.fromkeys(self.function.requirements))

    @property
    def secrets(self) -> Sequence[str]:
        """The secrets that a step mounts; where wheels are installed, instructions alone do."""
        asks_index = self.function.requirements and not self.wheels
        return self.values.secrets if self.values.instructions or asks_index else ()


def plan_build(
    function: Function,
    values: RunValues,
    settings: BuildSettings,
    facts: BuildFacts,
    *,
    wheels: bool = False,
    mounts_context: bool = False,
    has_network: bool = False,
) -> BuildPlan:
    """Return the image's plan; the same values make the same plan, to the byte.

    With `wheels` the requirements are installed from the context's folder `wheels`, which the caller fills, and no
    index is asked. Wheels stay in no layer with an engine that mounts folders of the context, as BuildKit does; the
    content's digest is the same with one that copies them, and with a network block (`has_network`), which is mounted
    where an index is asked: another road to the same image. Raises SpecError with all faults at once, one a line, each
    with field, value and what is allowed.
    """
    given = Given(function, values, settings, facts, wheels, mounts_context, has_network)
    faults = [
        *base_faults(function, settings, facts),
        *name_faults(function, settings),
        *instruction_faults(values.instructions),
        *requirement_faults(given.requirements),
        *env_faults(values.envs, facts.base),
        *secret_faults(given.secrets),
        *source_faults(facts.source),
    ]
    if faults:
        raise SpecError(f"function {function.name!r} cannot be built:\n" + "\n".join(f"  {line}" for line in faults))
    sheet, notes = _fill_sheet(given)
    return _seal(given, sheet, notes)


def _fill_sheet(given: Given) -> tuple[Sheet, list[str]]:
    """Return all that the Dockerfile says but for labels, and what the user should know of it."""
    values, settings, facts = given.values, given.settings, given.facts
    known = {*facts.base.env, *(one.name for one in values.envs)}
    completed = [complete(one.strip(), is_quiet=QUIET in known) for one in values.instructions]
    installs = needs_python(given.function, settings, facts.base)
    python = PYTHON_VERSIONS[given.function.python_version]
    mounts = "".join(f"--mount=type=secret,id={name},required=true " for name in given.secrets)
    sheet = Sheet(
        base=named(facts.base),
        runtime=named(facts.runtime) if facts.runtime else "",
        user=settings.user,
        group=settings.group,
        python_check=check_command(python) if is_unknown(facts.base) and not installs else "",
        python_install=install_command(python) if installs else "",
        names_user=facts.runtime is not None and "USER" not in known,
        # A build's argument loses to a variable of the base: one that stays is set before the instructions then.
        early_envs=[(one.name, one.value) for one in values.envs if one.persist and one.name in facts.base.env],
        build_envs=[one.name for one in values.envs if one.name not in facts.base.env],
        clears_code=LABEL_CONTENT in facts.base.labels,
        mounts=mounts,
        instructions=[text for text, _ in completed],
        install=_install(given),
        install_mounts=_install_mounts(given, mounts),
        copies_wheels=given.wheels and not given.mounts_context,
        late_envs=[(one.name, one.value) for one in values.envs if one.persist and one.name not in facts.base.env],
    )
    if facts.base.becomes_another:
        sheet = replace(sheet, entrypoint=facts.base.entrypoint, command=facts.base.command)
    noted = [f"instruction {number} {note}" for number, (_, note) in enumerate(completed, 1) if note]
    return sheet, [*noted, *_notes(given)]


def _seal(given: Given, sheet: Sheet, notes: Sequence[str]) -> BuildPlan:
    """Return the plan of the sheet: with digest, labels, name and files."""
    function, values, facts = given.function, given.values, given.facts
    arguments = {one.name: one.value for one in values.envs if one.name in sheet.build_envs}
    layout = records.digest_of([template_text(TEMPLATE), sheet.user, sheet.group, sheet.runtime != ""])
    python = f"{PYTHON_VERSIONS[function.python_version]}{', installed' if sheet.python_install else ''}"
    inputs = records.list_inputs(
        function, values, facts, requirements=given.requirements, told={"python": python, "layout": layout}
    )
    content = records.digest_of(
        {
            "dockerfile": render(replace(sheet, install_mounts="", copies_wheels=False)),
            "secrets": given.secrets,
            "wheels": given.wheels,
            "base": facts.base.digest,
            "runtime": facts.runtime.digest if facts.runtime else "",
            "arguments": arguments,
            "launch": records.without_place(records.launch_record(function)),
            "source": records.without_place(records.source_record(function, facts.source)),
        }
    )
    labels = records.list_labels(function, values, facts, content=content, inputs=inputs)
    dockerfile = render(replace(sheet, labels=sorted(labels.items())))
    return BuildPlan(
        dockerfile=dockerfile,
        steps=read_steps(dockerfile),
        files=_files(given),
        labels=labels,
        name=image_name(function, given.settings),
        tag=content.removeprefix("sha256:")[:TAG_CHARACTERS],
        content=content,
        inputs=inputs,
        build_args=arguments,
        secrets=given.secrets,
        notes=notes,
    )


def _install(given: Given) -> Sequence[str]:
    if not given.requirements:
        return ()
    offline = ["--no-index", "--find-links", WHEELS] if given.wheels else []
    return (
        f"{TREE}/bin/nuwrap-host",
        "install",
        "--requirements",
        f"{RECORDS}/requirements.txt",
        "--lock",
        f"{RECORDS}/requirements.lock",
        *offline,
    )


def _install_mounts(given: Given, secrets: str) -> str:
    if given.wheels:
        return WHEELS_MOUNT if given.mounts_context else ""
    return f"{secrets}{NETWORK_MOUNT if given.has_network else ''}"


def _files(given: Given) -> list[ContextFile]:
    """Return the context's files, in the order of their paths."""
    source = given.facts.source
    found = [
        ContextFile(
            f"code/{path}",
            copied_from=os.path.join(source.folder, path),
            is_executable=path in source.is_executable,
        )
        for path in source.files
    ]
    launch, origin = records.launch_record(given.function), records.source_record(given.function, source)
    found.append(ContextFile("records/launch.json", records.as_text(launch)))
    found.append(ContextFile("records/source.json", records.as_text(origin)))
    if given.requirements:
        found.append(ContextFile("requirements.txt", "".join(f"{one}\n" for one in given.requirements)))
    return sorted(found, key=lambda one: one.path)


def _notes(given: Given) -> list[str]:
    values, base = given.values, given.facts.base
    found = []
    if given.secrets:
        found.append(
            f"secrets {', '.join(given.secrets)} are files /run/secrets/NAME while instructions and requirements run, "
            "never variables; another value of a secret does not make a step run again"
        )
    if values.envs:
        found.append("envs stand in the image's history, those that do not persist too; give what is secret as secrets")
    found += [
        f"env {one.name} holds '$', which is kept as it is: no variable is put in"
        for one in values.envs
        if one.persist and "$" in one.value
    ]
    found += user_notes(values, given.requirements)
    if (base.is_local or not base.digest) and LABEL_API not in base.labels:  # ours says its version by its tag
        found.append(f"{base.reference} is not pinned by a digest, as no registry has told one")
    if is_unknown(base) and not given.settings.install_python:
        found.append(f"which Python {base.reference} has is not known before the build, which looks first")
    if given.wheels and given.requirements and not given.mounts_context:
        found.append("the wheels stay in a layer of the image, beside what is installed from them")
    return found
