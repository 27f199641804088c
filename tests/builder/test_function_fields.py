"""A function's fields: what is taken, and what every refusal says."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from pydantic import ValidationError

from nuwrap.errors import SpecError
from nuwrap.spec.function import PYTHON_VERSIONS, make_function

GOOD = {"name": "fn", "kind": "python", "handler": "f", "python_version": "PYTHON3_10", "code": "def f(): return 7"}
FIELDS = {
    "project",
    "name",
    "kind",
    "uuid",
    "description",
    "labels",
    "embedded",
    "code_src",
    "code",
    "base64",
    "handler",
    "init_function",
    "python_version",
    "lang",
    "image",
    "base_image",
    "requirements",
}  # fmt: skip - the specification's table


def refuse(**changes: Any) -> str:
    fields = {**GOOD, **changes}
    with pytest.raises(SpecError) as caught:
        make_function({key: value for key, value in fields.items() if value is not ...})
    return str(caught.value)


def test_every_field_of_the_specification_is_there_and_no_other() -> None:
    assert set(type(make_function(GOOD)).model_fields) == FIELDS


def test_a_function_keeps_its_values_and_cannot_change() -> None:
    function = make_function({**GOOD, "requirements": ["pandas>1, <3", "requests[socks]"], "labels": ["a"]})
    assert function.requirements == ("pandas>1, <3", "requests[socks]")
    with pytest.raises(ValidationError, match="frozen"):
        function.name = "other"


@pytest.mark.parametrize(("name", "version"), sorted(PYTHON_VERSIONS.items()))
def test_a_version_name_is_a_minor_version(name: str, version: str) -> None:
    assert make_function({**GOOD, "python_version": name}).python_version == name
    assert name.replace("_", ".") == f"PYTHON{version}"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("3.10", "did you mean PYTHON3_10?"),
        (3.1, "did you mean PYTHON3_10?"),  # what YAML makes of 3.10
        (3.11, "did you mean PYTHON3_11?"),
        ("python3.9", "did you mean PYTHON3_9?"),
        ("PYTHON2_7", "'PYTHON2_7' is none of the versions; allowed: PYTHON3_9, PYTHON3_10"),
        ([], "[] is none of the versions"),
    ],
)
def test_a_wrong_version_is_answered_with_the_right_spelling(given: Any, said: str) -> None:
    assert said in refuse(python_version=given)


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        ("", "handler: is empty"),
        ("pkg.m.f", "did you mean 'pkg.m:f'?"),
        ("pkg/m:f", "did you mean 'pkg.m:f'?"),
        ("a:b:c", "'a:b:c' has not the right form; allowed: [module:]function"),
        ("1x:f", "'1x:f' has not the right form"),
        ("f\n", "has not the right form"),
        (3, "3 is not a string"),
        (..., "handler: is missing; allowed: [module:]function"),
    ],
)
def test_a_bad_handler_is_refused_at_creation(handler: Any, said: str) -> None:
    assert said in refuse(handler=handler)


@pytest.mark.parametrize("handler", ["f", "main:f", "pkg.m:f", "with-dash:f", "m:Class.method", "_m:_f"])
def test_a_good_handler_is_kept(handler: str) -> None:
    assert make_function({**GOOD, "handler": handler, "init_function": "m:init"}).handler == handler


def test_four_faults_are_four_lines_of_one_error() -> None:
    text = refuse(handler=..., code=..., python_version="3.10", foo=1)
    assert text.splitlines()[0] == "the function is not valid:"
    assert sorted(line.split(":")[0].strip() for line in text.splitlines()[1:]) == [
        "code_src", "foo", "handler", "python_version",
    ]  # fmt: skip
    assert "no source is given; allowed: exactly one of code_src, code, base64" in text


def test_an_unknown_field_is_answered_with_the_nearest_one() -> None:
    assert "requirments: unknown key; did you mean 'requirements'?" in refuse(requirments=[])


def test_two_sources_are_ambiguous() -> None:
    assert "code and base64 are both given" in refuse(base64=base64.b64encode(b"x = 1").decode())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("@@@", "base64: '@@@' is not base64 of UTF-8 text"),
        (base64.b64encode(b"\xff").decode(), "base64: '/w==' is not base64 of UTF-8 text"),
        ("", "base64: is empty"),
    ],
)
def test_base64_is_checked_at_creation(text: str, said: str) -> None:
    assert said in refuse(code=..., base64=text)


@pytest.mark.parametrize(
    ("requirement", "said"),
    [
        ("--index-url=http://x", "is an option of pip"),
        ("numpy\nflask", "has a line break"),
        ("git+https://h/o/r", "write 'NAME @ git+https://h/o/r'"),
        ("./wheel.whl", "is not a requirement"),
        ("", "is not a requirement"),
    ],
)
def test_what_is_no_requirement_is_refused_with_the_reason(requirement: str, said: str) -> None:
    assert said in refuse(requirements=[requirement])


@pytest.mark.parametrize(
    "requirement", ["numpy", "pandas>1, <3", "r[socks]; python_version<'3.12'", "m @ git+https://h/r"]
)
def test_a_requirement_is_kept_verbatim(requirement: str) -> None:
    assert make_function({**GOOD, "requirements": [requirement]}).requirements == (requirement,)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "container"}, "kind: 'container' is none of these; allowed: python"),
        ({"name": "../x"}, "name: '../x' has not the right form"),
        ({"uuid": "12345678-1234-1234-1234-123456789abc"}, "is no UUID of version 4"),
        ({"labels": "a"}, "labels: 'a' is not a list"),
        ({"labels": ["a", 1]}, "labels[1]: 1 is not a string"),
        ({"embedded": "yes"}, "embedded: 'yes' is not true or false"),
        ({"requirements": "requirements.txt"}, "'requirements.txt' is a file; write its lines as the list"),
        ({"requirements": "numpy>1"}, "'numpy>1' is not a list; write ['numpy>1']"),
        ({"code": "  "}, "code: is empty"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_value_is_named_with_its_path(changes: dict[str, Any], said: str) -> None:
    assert said in refuse(**changes)


@pytest.mark.parametrize(
    "requirement",
    [
        "git+https://user:s3cr3t@host/x",
        "git+https://user:s3/cr3t@host/x",
        "m @ git+https://user:s3cr3t@host/x@v1",
        "m @ https://user:s3cr3t@host/" + "x" * 100,
        "-i https://user:s3cr3t@host/simple",
        "m\n--index-url=https://user:s3cr3t@host/simple",
    ],
)
def test_a_password_in_a_requirement_is_refused_and_not_shown(requirement: str) -> None:
    for value in ([requirement], requirement):
        said = refuse(requirements=value)
        assert "//***@" in said
        assert "s3" not in said
    assert "s3" not in refuse(requirements=[[requirement]])


@pytest.mark.parametrize(
    "address", ["git+https://u:s3cr3t@host/r#v1", "https://u:s3cr3t@host/f.py", "zip+https://:s3@h/z"]
)
def test_a_password_in_a_source_is_refused_and_not_shown(address: str) -> None:
    said = refuse(code_src=address, code=None)
    assert "holds a password, which would be stored and shown; leave it out, and set GIT_USERNAME" in said
    assert "s3" not in said


@pytest.mark.parametrize("name", ["types_", "_f", "a-", ".f"])
def test_a_name_of_allowed_characters_that_begins_or_ends_wrongly_is_told_what_is_wrong(name: str) -> None:
    assert "the first and the last a letter or digit" in refuse(name=name)


def test_every_requirement_that_is_none_is_named() -> None:
    said = refuse(requirements=["numpy==", "-r req.txt", "six", "pandas=2"])
    assert all(text in said for text in ("'numpy=='", "'-r req.txt'", "'pandas=2'"))
    assert "six" not in said
