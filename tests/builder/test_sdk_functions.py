"""Functions in the history through the SDK: versions, changes, exports, and functions passed as objects."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import yaml
from sdk_functions import VERSION, make

import nuwrap
from nuwrap.errors import NotFound, SpecError, UsageError
from nuwrap.sdk.arguments import FunctionFields, RunFields
from nuwrap.spec.function import Function
from nuwrap.spec.run_values import RunValues

CODE = "def f():\n    return 7\n"
RATE = 0.2


def area(radius):
    return math.pi * radius**2


def prepare(context, factor):
    context.user_data.factor = factor


def taxed(price):
    return price * RATE


def test_each_change_is_a_version_and_the_same_is_none(dh: Any) -> None:
    first = make(dh, CODE)
    assert make(dh, CODE).id == first.id
    second = make(dh, CODE, requirements=["packaging"])
    assert second.id != first.id
    assert dh.get_function("fn", "p").id == second.id
    assert dh.get_function("fn", "p", entity_id=first.id).requirements == []
    assert dh.get_function(first.key).key == first.key
    assert [one.id for one in dh.get_function_versions("fn", "p")] == [one.id for one in second.versions()]
    assert [one.id for one in second.versions()] == [second.id, first.id]
    assert [one.id for one in dh.list_functions("p")] == [second.id]


def test_fields_are_attributes_and_stand_under_spec_and_metadata(dh: Any) -> None:
    function = make(dh, CODE, description="seven", labels=["daily"], lang="python")
    assert function.code == function.spec.code == CODE
    assert (function.name, function.project, function.kind) == ("fn", "p", "python")
    assert (function.metadata.description, function.metadata.labels) == ("seven", ["daily"])
    assert (function.spec.image, function.lang, function.status.state) == ("", "python", "CREATED")
    assert [one.id for one in dh.list_functions("p", label="daily")] == [function.id]
    with pytest.raises(AttributeError, match="a function has no 'handlr'; did you mean 'handler'"):
        function.handlr  # noqa: B018
    with pytest.raises(AttributeError, match="no field 'imge'; did you mean 'image'"):
        function.spec.imge  # noqa: B018


def test_what_is_set_counts_when_it_is_saved(dh: Any) -> None:
    function = make(dh, CODE)
    first = function.id
    function.requirements = ["packaging"]
    function.spec.init_function = "init"
    assert "with unsaved changes" in repr(function)
    with pytest.raises(UsageError, match="requirements, init_function changed; save\\(\\) makes a version of that"):
        function.run("job")
    assert dh.get_function("fn", "p").requirements == []
    saved = function.save()
    assert saved.id != first
    assert dh.get_function("fn", "p").init_function == "init"
    function.init_function = "other"
    assert function.refresh().init_function == "init"


def test_what_another_program_exported_stays_with_a_version_that_changes(dh: Any) -> None:
    document = {"project": "p", "name": "fn", "kind": "python", "spec": {"python_version": VERSION, "novel": {"a": 1}}}
    document["spec"] |= {"source": {"code": CODE, "handler": "f"}}
    Path("exported.yaml").write_text(json.dumps(document))
    first = dh.import_function("exported.yaml")
    assert dh.import_function("exported.yaml").id == first.id
    changed = first.update(description="seven")
    again = yaml.safe_load(Path(changed.export("again.yaml")).read_text())
    assert again["spec"]["novel"] == {"a": 1}


def test_an_update_changes_the_version_in_place(dh: Any) -> None:
    function = make(dh, CODE)
    changed = function.update(description="seven", code="def f():\n    return 8\n")
    assert changed.id == dh.get_function("fn", "p").id
    assert dh.get_function("fn", "p").description == "seven"
    Path("fn.py").write_text(CODE)
    assert function.update(code_src="fn.py").code == ""
    assert function.run("job", local_execution=True).results() == {"output_0": 7}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("name", "other", "name of <Function p/fn .*> cannot be changed"),
        ("handlr", "g", "a function has no field 'handlr'; did you mean 'handler'"),
    ],
)
def test_what_cannot_be_set_is_refused(dh: Any, name: str, value: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        setattr(make(dh, CODE), name, value)


def test_an_update_that_is_not_valid_changes_nothing(dh: Any) -> None:
    function = make(dh, CODE)
    with pytest.raises(SpecError, match="a:b:c"):
        function.update(handler="a:b:c")
    assert dh.get_function("fn", "p").handler == "f"


def test_of_several_versions_none_is_deleted_by_chance(dh: Any) -> None:
    first, second = make(dh, CODE), make(dh, CODE, description="x")
    with pytest.raises(UsageError, match="'fn' has 2 versions: give entity_id=ID for one of them, or delete_all_ver"):
        dh.delete_function("fn", "p")
    first.delete()
    dh.delete_function(second.key)
    with pytest.raises(NotFound, match="project 'p' has no function 'fn'; it has none yet"):
        dh.get_function("fn", "p")


def test_what_is_not_there_names_what_is_alike(dh: Any) -> None:
    make(dh, CODE, name="clean-up")
    with pytest.raises(NotFound, match="project 'p' has no function 'cleanup'; did you mean 'clean-up'"):
        dh.get_function("cleanup", "p")
    with pytest.raises(UsageError, match="is no key of a function"):
        dh.get_function("store://p/dataitem/table/x")
    with pytest.raises(UsageError, match="project: is missing"):
        dh.new_function(name="fn", kind="python", code=CODE, handler="f", python_version=VERSION)


def test_a_function_is_passed_as_an_object(dh: Any) -> None:
    function = dh.new_function("p", "area", "python", code=area, python_version=VERSION)
    assert function.handler == "area"
    assert function.code.endswith("import math\n\n\ndef area(radius):\n    return math.pi * radius**2\n")
    assert function.run("job", parameters={"radius": 1}, local_execution=True).results() == {"output_0": math.pi}


def test_a_handler_and_its_init_function_are_objects(dh: Any) -> None:
    def scaled(context, value):
        return value * context.user_data.factor

    function = dh.new_function("p", "scaled", "python", handler=scaled, init_function=prepare, python_version=VERSION)
    done = function.run("job", parameters={"value": 2}, init_parameters={"factor": 3}, local_execution=True)
    assert done.results() == {"output_0": 6}, done.logs()


def test_a_name_that_does_not_come_along_is_told(dh: Any, capsys: pytest.CaptureFixture[str]) -> None:
    dh.new_function("p", "taxed", "python", code=taxed, python_version=VERSION)
    assert "nuwrap: RATE does not come along with 'taxed'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"code": area, "code_src": "fn.py"}, "code_src: is given, and code is a function"),
        ({"code": area, "handler": taxed}, "handler: is another function than code"),
        ({"init_function": prepare, "code": CODE, "handler": "f"}, "init_function: is a function, and the handler is"),
        ({"lang": area, "code": CODE, "handler": "f"}, "lang: is a function"),
        ({"code": lambda: 1}, "a lambda has no name"),
    ],
    ids=["source", "two", "init", "lang", "lambda"],
)
def test_objects_that_do_not_go_together_are_refused(dh: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dh.new_function("p", "x", "python", python_version=VERSION, **fields)


def test_a_project_refuses_another_projects_name(dh: Any) -> None:
    project = dh.get_or_create_project("p")
    for call in (project.new_function, project.list_runs, project.get_dataitem, project.run):
        with pytest.raises(UsageError, match="project= must not be given to a project's own"):
            call("x", project="q")


def test_what_digitalhub_has_and_nuwrap_has_not_is_said_by_name(dh: Any, capsys: pytest.CaptureFixture[str]) -> None:
    project = dh.get_or_create_project("p", context="./src", setup_kwargs=None)
    assert "context of a project changes nothing here" in capsys.readouterr().err
    with pytest.raises(AttributeError, match="a project has no 'new_workflow': workflow is a platform's"):
        project.new_workflow  # noqa: B018
    with pytest.raises(AttributeError, match="module 'nuwrap' has no 'new_trigger': trigger is a platform's"):
        dh.new_trigger  # noqa: B018
    with pytest.raises(AttributeError, match="module 'nuwrap' has no 'get_projct'; did you mean 'get_project'"):
        dh.get_projct  # noqa: B018
    with pytest.raises(UsageError, match="descr: unknown argument; did you mean 'description'"):
        dh.get_or_create_project("q", descr="x")


def test_a_project_is_made_found_changed_and_removed(dh: Any) -> None:
    project = dh.get_or_create_project("p", description="mine", labels=["a"])
    assert dh.get_or_create_project("p").metadata.description == "mine"
    project.update(description="ours")
    assert (dh.get_project("p").metadata.description, dh.load_project("p").metadata.labels) == ("ours", ["a"])
    with pytest.raises(UsageError, match="there is a project 'p' already"):
        dh.new_project("p")
    dh.delete_project("p")
    with pytest.raises(NotFound, match="there is no project 'p'; there is none yet"):
        dh.get_project("p")


def test_editors_know_all_fields_and_no_others() -> None:
    assert set(get_type_hints(FunctionFields)) == set(Function.model_fields) - {"name", "kind", "project"}
    assert set(get_type_hints(RunFields)) == set(RunValues.model_fields) - {"action"}


def test_every_name_is_there_and_importing_loads_none() -> None:
    for name in nuwrap.__all__:
        assert getattr(nuwrap, name).__name__ == name
    code = "import sys; before = set(sys.modules); import nuwrap; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['__future__', 'nuwrap']\n"
