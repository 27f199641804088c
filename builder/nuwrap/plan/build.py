"""From a function and what is known of its base image and code to the image's plan. Touches nothing.

Layers lie in the order of how seldom they change: base, runtime, instructions, requirements, code.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from nuwrap.errors import SpecError
from nuwrap.plan import records
from nuwrap.plan.base_image import PYTHON_PLACE, base_faults, check_command, install_command, is_unknown, needs_python
from nuwrap.plan.dockerfile import Sheet, command_fault, line_fault, read_steps, render, template_text
from nuwrap.plan.instructions import QUIET, complete
from nuwrap.plan.references import image_name
from nuwrap.spec.build import RECORDS, TREE, BuildFacts, BuildPlan, BuildSettings, ContextFile, ImageFacts
from nuwrap.spec.function import PYTHON_VERSIONS, Function
from nuwrap.spec.requirements import has_password, hide_credentials
from nuwrap.spec.run_values import RunValues
from nuwrap.spec.shapes import Env
from nuwrap_runtime.schema import show

TAG_CHARACTERS: Final = 16
_ENGINE_ARGUMENT = re.compile(r"BUILDKIT_")  # of these, BUILDKIT_SYNTAX alone names another program to read the file


@dataclass(frozen=True)
class Given:
    """What a plan is made from, in one hand."""

    function: Function
    values: RunValues
    settings: BuildSettings
    facts: BuildFacts
    wheels: bool

    @property
    def requirements(self) -> Sequence[str]:
        """The requirements in the user's order, each once."""
        return tuple(dict.fromkeys(self.function.requirements))


def plan_build(
    function: Function, values: RunValues, settings: BuildSettings, facts: BuildFacts, *, wheels: bool = False
) -> BuildPlan:
    """Return the image's plan; the same values make the same plan, to the byte.

    With `wheels` the requirements are installed from the context's folder `wheels`, which the caller fills, and no
    index is asked. Raises SpecError with all faults at once, one a line, each with field, value and what is allowed.
    """
    given = Given(function, values, settings, facts, wheels)
    faults = [
        *base_faults(function, settings, facts),
        *_instruction_faults(values.instructions),
        *_requirement_faults(given.requirements),
        *_env_faults(values.envs, facts.base),
        *_path_faults(facts),
    ]
    if faults:
        raise SpecError(f"function {function.name!r} cannot be built:\n" + "\n".join(f"  {line}" for line in faults))
    sheet, notes = _fill_sheet(given)
    return _seal(given, sheet, notes)


def _fill_sheet(given: Given) -> tuple[Sheet, list[str]]:
    """Return all that the Dockerfile says but for labels, and what the user should know of it."""
    values, settings, facts = given.values, given.settings, given.facts
    completed = [complete(one.strip(), is_quiet=_sets(QUIET, values.envs)) for one in values.instructions]
    early, late = _split_envs(values.envs, facts.base)
    installs = needs_python(given.function, settings, facts.base)
    python = PYTHON_VERSIONS[given.function.python_version]
    sheet = Sheet(
        base=_named(facts.base),
        runtime=_named(facts.runtime) if facts.runtime else "",
        user=settings.user,
        group=settings.group,
        python_command=install_command(python) if installs else check_command(python) * is_unknown(facts.base),
        python_bin=f"{PYTHON_PLACE}/current/bin" if installs else "",
        makes_places=facts.runtime is not None,
        early_envs=early,
        build_envs=[one.name for one in values.envs if not _sets(one.name, facts.base.env)],
        mounts="".join(f"--mount=type=secret,id={name},required=true " for name in values.secrets),
        instructions=[text for text, _ in completed],
        install=_install(given),
        wheels=given.wheels,
        late_envs=late,
    )
    noted = [f"instruction {number} {note}" for number, (_, note) in enumerate(completed, 1) if note]
    return sheet, [*noted, *_notes(given)]


def _seal(given: Given, sheet: Sheet, notes: Sequence[str]) -> BuildPlan:
    """Return the plan of the sheet: with digest, labels, name and files."""
    function, values, facts = given.function, given.values, given.facts
    arguments = {one.name: one.value for one in values.envs if one.name in sheet.build_envs}
    layout = records.digest_of([template_text(), sheet.user, sheet.group, sheet.runtime != "", sheet.python_bin])
    inputs = records.list_inputs(function, values, facts, requirements=given.requirements, layout=layout)
    content = records.digest_of(
        {
            "dockerfile": render(sheet),
            "base": facts.base.digest,
            "runtime": facts.runtime.digest if facts.runtime else "",
            "arguments": arguments,
            "requirements": given.requirements,
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
        secrets=values.secrets,
        notes=notes,
    )


def _named(image: ImageFacts) -> str:
    """Return the image by digest; one of the engine's own store by its name, as BuildKit looks for no other there."""
    return image.reference if image.is_local or not image.pinned else image.pinned


def _install(given: Given) -> Sequence[str]:
    if not given.requirements:
        return ()
    offline = ["--no-index", "--find-links", f"{RECORDS}/wheels"] if given.wheels else []
    return (
        f"{TREE}/bin/nuwrap-host",
        "install",
        "--requirements",
        f"{RECORDS}/requirements.txt",
        "--lock",
        f"{RECORDS}/requirements.lock",
        *offline,
    )


def _split_envs(envs: Sequence[Env], base: ImageFacts) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return the variables that stay: those set before the instructions, as the base has others of that name that win
    over a build's arguments, and those set after the requirements, where a change of them rebuilds little.
    """
    kept = [one for one in envs if one.persist]
    early = [(one.name, one.value) for one in kept if _sets(one.name, base.env)]
    return early, [(one.name, one.value) for one in kept if not _sets(one.name, base.env)]


def _sets(name: str, envs: Mapping[str, str] | Sequence[Env]) -> bool:
    return name in (envs if isinstance(envs, Mapping) else [one.name for one in envs])


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
    if values.secrets:
        found.append(
            f"secrets {', '.join(values.secrets)} are files /run/secrets/NAME while instructions and requirements run, "
            "never variables; another value of a secret does not make a step run again"
        )
    if values.envs:
        found.append("envs stand in the image's history, those that do not persist too; give what is secret as secrets")
    if base.is_local or not base.digest:
        found.append(f"{base.reference} is not pinned by a digest, as no registry has told one")
    if is_unknown(base) and not given.settings.install_python:
        found.append(f"which Python {base.reference} has is not known before the build, which looks first")
    if given.wheels and given.requirements:
        found.append("the wheels stay in a layer of the image, beside what is installed from them")
    return found


def _instruction_faults(instructions: Sequence[str]) -> list[str]:
    found = [(number, text, command_fault(text)) for number, text in enumerate(instructions)]
    return [
        f"instructions[{number}]: {show(text)} {fault}; allowed: a shell command on one line"
        for number, text, fault in found
        if fault
    ]


def _requirement_faults(requirements: Sequence[str]) -> list[str]:
    found = []
    for number, text in enumerate(requirements):
        fault = line_fault(text) or ("ends with a backslash" if text.rstrip().endswith("\\") else "")
        if fault:
            found.append(f"requirements[{number}]: {show(hide_credentials(text))} {fault}; allowed: one line")
    return found


def _env_faults(envs: Sequence[Env], base: ImageFacts) -> list[str]:
    found = []
    for number, one in enumerate(envs):
        fault = _env_fault(one, base)
        if fault:
            found.append(f"envs[{number}]: {one.name} {fault}")
    return found


def _env_fault(env: Env, base: ImageFacts) -> str:
    if _ENGINE_ARGUMENT.match(env.name):
        return "is an argument of the build engine itself; name the variable differently"
    if has_password(env.value):
        return "has an address with a password, which would stay in the image's history; give it as a secret"
    if env.persist and line_fault(env.value):
        return f"{line_fault(env.value)}; allowed with persist: one line. Give it as an env of the job or service"
    if not env.persist and env.name in base.env:
        return "is set by the base image, which wins over a build's; say persist: true, or set it in the instruction"
    return ""


def _path_faults(facts: BuildFacts) -> list[str]:
    wrong: list[Any] = [path for path in facts.source.files if path.startswith("/") or ".." in path.split("/")]
    return [f"code_src: the file {show(path)} is outside the code" for path in wrong]
