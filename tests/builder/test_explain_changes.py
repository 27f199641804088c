"""Why an image is built anew: which input differs, in a sentence, and which steps follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from build_plans import CODE, Build, facts, image, on_ours, sha
from hypothesis import given, settings
from hypothesis import strategies as st

from nuwrap.plan.changes import Change, explain_changes, split_steps
from nuwrap.spec.build import BuildPlan, BuildSettings, SourceFacts

FIELDS: Mapping[str, Any] = {"requirements": ["numpy", "pandas<2"]}
VALUES: Mapping[str, Any] = {
    "instructions": ["true", "false"],
    "envs": [{"name": "A", "value": "1"}],
    "secrets": ["TOKEN"],
}


def plan(known: Any = None, fields: Any = None, values: Any = None, **settings: Any) -> BuildPlan:
    given = {**FIELDS, **(fields or {})}, {**VALUES, **(values or {})}
    return Build(known or facts(), *given, BuildSettings(**settings)).plan()


def changes(after: BuildPlan) -> list[Change]:
    return explain_changes(plan().inputs, after.inputs)


def test_the_same_build_has_no_changes() -> None:
    assert changes(plan()) == []
    reused, rebuilt = split_steps(plan().steps, [])
    assert (reused, rebuilt) == (list(plan().steps), [])


@pytest.mark.parametrize(
    ("after", "name", "text", "first"),
    [
        (
            plan(facts(image(digit="e"))),
            "base",
            f"the base image is another: {'a' * 12} became {'e' * 12}",
            "base",
        ),
        (plan(user=1), "layout", "nuwrap lays images out in another way, or the settings' user is another", "places"),
        (plan(values={"envs": [{"name": "A", "value": "2"}]}), "env:A", "env A has another value", "instruction 1"),
        (plan(values={"envs": []}), "env:A", "env A is gone", "instruction 1"),
        (plan(values={"secrets": []}), "secret:TOKEN", "secret TOKEN is mounted no more", "instruction 1"),
        (
            plan(values={"instructions": ["true", "x"]}),
            "instruction 2",
            "instruction 2 is another command",
            "instruction 2",
        ),
        (plan(values={"instructions": ["true"]}), "instruction 2", "instruction 2 is gone", "requirements"),
        (
            plan(values={"instructions": ["true", "false", "x"]}),
            "instruction 3",
            "instruction 3 is new",
            "instruction 3",
        ),
        (
            plan(fields={"requirements": ["numpy", "Pandas<3"]}),
            "requirement:Pandas<3",
            "requirement pandas<2 became Pandas<3",
            "requirements",
        ),
        (
            plan(fields={"requirements": ["numpy"]}),
            "requirement:pandas<2",
            "requirement pandas<2 is gone",
            "requirements",
        ),
        (
            plan(fields={"requirements": ["pandas<2", "numpy"]}),
            "requirements",
            "the requirements are others, or in another order",
            "requirements",
        ),
        (plan(facts(source=replace(CODE, files={"fn.py": sha("9")}))), "file:fn.py", "file fn.py has changed", "code"),
        (
            plan(facts(source=replace(CODE, files={**CODE.files, "x.py": sha("9")}))),
            "file:x.py",
            "file x.py is new",
            "code",
        ),
        (
            plan(facts(source=replace(CODE, is_executable=frozenset({"fn.py"})))),
            "code",
            "the code has changed: files that are too many to name, or which of them can be executed",
            "code",
        ),
        (
            plan(facts(source=replace(CODE, revision="v2"))),
            "revision",
            f"the source's revision was {'d' * 12}, is v2",
            "records",
        ),
        (
            plan(fields={"handler": "g"}),
            "function",
            "handler, init_function or another field of the function has changed",
            "records",
        ),
    ],
)  # fmt: skip
def test_a_change_is_told_with_the_first_step_that_follows(after: BuildPlan, name: str, text: str, first: str) -> None:
    (change,) = changes(after)
    assert (change.name, change.text, change.first) == (name, text, first)
    assert after.tag != plan().tag
    _, rebuilt = split_steps(after.steps, [change])
    assert rebuilt
    assert {one.key for one in rebuilt} <= {*change.rebuilds.split(", ")}


@pytest.mark.parametrize(
    ("after", "reused"),
    [
        (plan(facts(image(digit="e"))), 0),
        (plan(values={"envs": [{"name": "A", "value": "2"}]}), 4),
        (plan(values={"instructions": ["true", "x"]}), 5),
        (plan(fields={"requirements": ["numpy"]}), 6),
        (plan(facts(source=replace(CODE, files={"fn.py": sha("9")}))), 8),
        (plan(facts(source=replace(CODE, revision="v2"))), 10),
    ],
)
def test_steps_before_a_change_are_reused(after: BuildPlan, reused: int) -> None:
    stay, again = split_steps(after.steps, changes(after))
    assert (len(stay), stay + again) == (reused, list(after.steps))


def test_changes_are_told_in_the_order_of_the_layers() -> None:
    after = plan(
        facts(image(digit="e"), replace(CODE, files={"fn.py": sha("9")}, revision="v2")),
        {"requirements": ["numpy", "scipy"], "handler": "g"},
        {"instructions": ["x", "false"]},
    )
    assert [one.name for one in changes(after)] == [
        "base", "instruction 1", "requirement:scipy", "requirement:pandas<2", "file:fn.py", "revision", "function",
    ]  # fmt: skip


def test_an_image_of_another_base_has_nuwraps_part_no_more() -> None:
    after = plan(on_ours())
    assert [(one.name, one.first) for one in changes(after)] == [
        ("base", "base"), ("layout", "instruction 1"), ("runtime", "instruction 1"),
    ]  # fmt: skip


def test_a_variable_may_name_where_python_is_installed_from() -> None:
    cuda = facts(image("nvidia/cuda:12", python=""))
    before, after = (
        plan(cuda, values={"envs": [{"name": "UV_PYTHON_INSTALL_MIRROR", "value": text}]}, install_python=True)
        for text in ("https://a.example.com", "https://b.example.com")
    )
    (change,) = explain_changes(before.inputs, after.inputs)
    assert change.first == "python"
    assert [one.key for one in split_steps(after.steps, [change])[0]] == ["base", "runtime", "places"]


def test_another_python_is_told() -> None:
    known = facts(image("python:3.12-slim", "e", python="3.12"))
    texts = [one.text for one in changes(plan(known, {"python_version": "PYTHON3_12"}))]
    assert texts[1:] == ["python_version was 3.11, is 3.12"]
    installed = changes(plan(facts(image(python="")), install_python=True))
    assert [(one.text, one.first) for one in installed] == [("python_version was 3.11, is 3.11, installed", "python")]


def test_files_that_are_too_many_to_name_are_told_as_one() -> None:
    many = SourceFacts("src", "v", {f"f{number}.py": sha("6") for number in range(300)}, "/x")
    before, after = (plan(on_ours(one)) for one in (replace(many, files={"f0.py": sha("6")}), many))
    (change,) = explain_changes(before.inputs, after.inputs)
    assert (change.name, change.first) == ("code", "code")


def test_an_image_without_inputs_that_we_know_is_told_as_all_new() -> None:
    found = explain_changes({}, plan().inputs)
    assert {one.kind for one in found} == {"new"}
    assert found[0].name == "base"
    (unknown,) = explain_changes({"something": "of a later version", **plan().inputs}, plan().inputs)
    assert (unknown.text, unknown.first) == ("something is gone", "base")


NAMES = ("base", "python", "layout", "code", "requirements", "instruction 1", "env:A", "file:f", "requirement:x")


@settings(deadline=None)
@given(
    st.dictionaries(
        st.one_of(st.sampled_from(NAMES), st.text(max_size=5), st.text().map("instruction {}".format)), st.text()
    )
)
def test_whatever_an_image_says_of_its_inputs_is_told_or_is_none(old: dict[str, str]) -> None:
    now = plan()
    found = explain_changes(old, now.inputs)
    assert bool(found) == (old != now.inputs)
    assert all(one.text and one.first and one.rebuilds for one in found)
    stay, again = split_steps(now.steps, found)
    assert stay + again == list(now.steps)
