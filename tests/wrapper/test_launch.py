"""The launch document: what is valid, what is said about what is not, and who wins."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nuwrap_runtime.errors import LaunchError
from nuwrap_runtime.host.arguments import DOCUMENT_BYTES, read_launch
from nuwrap_runtime.launch import FIELDS, VARIABLES, Launch, Limits, Network, Serve, flag_names, parse_launch

REPOSITORY = Path(__file__).resolve().parents[2]
KEY = "store://p/dataitem/table/raw:1"
MINIMAL = {"api": "nuwrap/v1", "handler": "f", "code": "def f(): pass"}


def document(**changed: Any) -> dict[str, Any]:
    """MINIMAL with some keys changed; `...` takes one away."""
    merged = {**MINIMAL, **changed}
    return {key: value for key, value in merged.items() if value is not ...}


def faults_of(value: Any) -> list[str]:
    with pytest.raises(LaunchError) as caught:
        parse_launch(value)
    head, *lines = str(caught.value).splitlines()
    assert head == "the launch document is not valid:"
    return [line.strip() for line in lines]


def test_a_minimal_document_gets_the_documented_defaults() -> None:
    launch = parse_launch(MINIMAL)
    assert (launch.mode, launch.python, launch.binding, launch.concurrency) == ("job", "python3", "auto", 16)
    assert (launch.timeout_s, launch.grace_s, launch.serve) == (None, 30.0, Serve(8080, 8082, "", 2, 64))
    assert launch.to_document() == MINIMAL


@pytest.mark.parametrize(
    "handler",
    ["f", "_f", "main:f", "pkg.mod:f", "a.b.c.d:f", "my-file:f", "pkg.my-file:f", "main:Class.method", "größe:maß"],
)
def test_a_handler_may_be(handler: str) -> None:
    assert parse_launch(document(handler=handler)).handler == handler


@pytest.mark.parametrize(
    "handler",
    [
        *("", "f\n", "main:f\n", " f", "f ", "1x:f", "main:1f", "a:b:c", ":f", "main:", ".f", "f.", "a..b:f", "my-f"),
        *("f()", "main:f-g", "m:A.b.c", "../m:f", "/m:f", "-m:f", "m :f", "m:f\0", "m\\n:f", "a" * 600),
    ],
)
def test_a_handler_may_not_be(handler: str) -> None:
    assert any(line.startswith("handler: ") for line in faults_of(document(handler=handler)))


@pytest.mark.parametrize(
    ("handler", "meant"),
    [("pkg.m.f", "pkg.m:f"), ("m.f", "m:f"), ("pkg/m.py:f", "pkg.m:f"), ("pkg/m:f", "pkg.m:f"), ("m.py:f", None)],
)
def test_a_handler_written_as_a_path_is_told_its_form(handler: str, meant: Any) -> None:
    if meant is None:  # a file m/py.py is possible
        assert parse_launch(document(handler=handler)).handler == handler
    else:
        assert f"handler: did you mean {meant!r}?" in faults_of(document(handler=handler))


def test_an_init_function_may_name_its_module_but_no_class() -> None:
    assert parse_launch(document(init_function="pkg.m:setup")).init_function == "pkg.m:setup"
    assert faults_of(document(init_function="m:A.setup"))
    assert "init_function: did you mean 'pkg.m:setup'?" in faults_of(document(init_function="pkg.m.setup"))


def test_all_faults_come_at_once_each_with_its_path_and_what_is_allowed() -> None:
    found = faults_of(
        {"api": "nuwrap/v1", "handlr": "f", "mode": "jobb", "serve": {"prot": 1}, "timeout_s": 0, "requirements": [1]}
    )
    assert found == [
        "handler: is missing",
        "handlr: unknown key; did you mean 'handler'?",
        "mode: 'jobb' is none of job, serve; did you mean 'job'?",
        "serve.prot: unknown key; did you mean 'port'?",
        "timeout_s: 0 is not more than 0; allowed: seconds, more than 0",
        "requirements[0]: 1 is not a string",
        "code_src: is missing; allowed: exactly one of code_src, code, base64",
    ]


def test_a_thousand_faults_are_not_all_printed() -> None:
    found = faults_of(document(**{f"k{i}": i for i in range(1000)}))
    assert len(found) == 41
    assert found[-1] == "… and 960 more"


@pytest.mark.parametrize("given", [("code_src", "code"), ("code", "base64"), ("code_src", "code", "base64")])
def test_more_than_one_source_is_ambiguous(given: Any) -> None:
    values = {"code_src": "x.py", "code": "x", "base64": "eA=="}
    found = faults_of(document(**{key: values[key] if key in given else ... for key in values}))
    assert found == [f"{' and '.join(given)} are both given; allowed: exactly one of code_src, code, base64"]


@pytest.mark.parametrize(
    "text",
    ["@@@", base64.b64encode(b"\xff\xfe").decode(), "YQ", "é", "  \n", "", 5, None, ["YQ=="]],
    ids=["alphabet", "not UTF-8", "padding", "not ASCII", "blank", "empty", "number", "null", "list"],
)
def test_base64_that_is_no_text_is_a_fault_of_its_field(text: Any) -> None:
    assert [line for line in faults_of(document(code=..., base64=text)) if line.startswith("base64: ")]


def test_base64_may_have_line_breaks() -> None:
    text = base64.encodebytes(b"def f():\n    return 'x' * 100\n" * 5).decode()
    assert "\n" in text.strip()
    assert parse_launch(document(code=..., base64=text)).base64 == text


def test_one_name_has_one_value() -> None:
    changed = document(inputs={"a": KEY}, parameters={"a": 1}, entities={KEY: {"kind": "table", "path": "x"}})
    assert faults_of(changed) == ["inputs.a: is in parameters too; one name has one value"]


def test_an_input_needs_its_entity_and_an_entity_its_kind_and_path() -> None:
    assert faults_of(document(inputs={"a": KEY})) == [f"inputs.a: {KEY!r} has no entry in entities"]
    assert faults_of(document(entities={KEY: {}})) == [
        f"entities.{KEY}.kind: is missing",
        f"entities.{KEY}.path: is missing",
    ]


@pytest.mark.parametrize("key", ["raw.csv", "store://p/run/x/y", "store://p/dataitem/t/n\n", "store:///dataitem/t/n"])
def test_an_input_is_a_store_key(key: str) -> None:
    assert any("has not the form store://" in line for line in faults_of(document(inputs={"a": key})))


@pytest.mark.parametrize("name", ["", "1x", "a-b", "a b", "a\n", "a.b"])
def test_a_parameter_has_a_python_name_and_the_message_stays_on_one_line(name: str) -> None:
    assert [line for line in faults_of(document(parameters={name: 1})) if "a Python name" in line]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": float("nan")}, "parameters.a: nan is not a number that JSON has"),
        ({"a": [float("inf")]}, "parameters.a[0]: inf is not a number that JSON has"),
        ({"a": {"b": "\ud800"}}, "half a character"),
        ({"a": {"\ud800": 1}}, "as a name is not text"),
        ({"a": {1: 2}}, "parameters.a.1: 1 as a name is not text"),
        ({"a": {1, 2}}, "is a set; allowed: values that JSON has"),
        ({"a": b"x"}, "is a bytes; allowed: values that JSON has"),
        ({"a": 10**5000}, "has more than 4000 digits"),
    ],
    ids=["nan", "inf", "surrogate", "surrogate name", "number as name", "set", "bytes", "digits"],
)
def test_what_json_has_not_is_a_fault_with_its_path(value: Any, said: str) -> None:
    assert [line for line in faults_of(document(parameters=value)) if said in line]


def test_nesting_without_end_is_a_fault_not_a_crash() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert faults_of(document(parameters={"a": deep}))[0].endswith("is nested more than 100 levels deep")
    with pytest.raises(LaunchError, match=r"is not JSON|levels deep"):
        read_launch({"parameters": '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", **MINIMAL}, {})


@pytest.mark.parametrize("key", ["init_function", "timeout_s", "serve", "requirements"])
def test_null_is_refused_with_the_way_out(key: str) -> None:
    (found,) = faults_of(document(**{key: None}))
    assert found.startswith(f"{key}: null is not ")
    assert "leave it out" in found


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("timeout_s", 1e400),
        ("timeout_s", 2_000_001),
        ("timeout_s", 10**400),
        ("grace_s", -1),
        ("concurrency", 0),
        ("concurrency", 1025),
        ("concurrency", True),
        ("serve", {"port": 65536}),
        ("serve", {"workers": 1.0}),
        ("limits", {"bytes": 10**30}),
        ("sha256", "0" * 63 + "G"),
        ("project", "../x"),
        ("project", "a\n"),
        ("code_src", "a\0b"),
        ("output_path", "a\nb"),
        ("secrets", [".."]),
        ("network", {"proxies": {"https": 1}}),
        ("keep_git", "yes"),
    ],
    ids=str,
)
def test_a_value_out_of_bounds_names_its_key(key: str, value: Any) -> None:
    changed = document(**{key: value}) if key != "code_src" else document(code=..., code_src=value)
    assert [line for line in faults_of(changed) if line.startswith(key)]


def test_a_name_that_ends_wrongly_is_told_what_is_wrong() -> None:
    (fault,) = faults_of(document(function="types_"))
    assert "the first and the last a letter or digit" in fault


@pytest.mark.parametrize("value", [None, [], "x", 1], ids=repr)
def test_a_document_is_a_mapping(value: Any) -> None:
    assert " is not a mapping" in faults_of(value)[0]


_names = st.from_regex(r"\A[a-z][a-z0-9]{0,8}\Z")
_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=8,
)
_launches = st.builds(
    Launch,
    handler=st.sampled_from(["f", "m:f", "p.m:C.m"]),
    code=_texts.filter(bool),
    mode=st.sampled_from(["job", "serve"]),
    project=_names,
    run=_names,
    parameters=st.dictionaries(_names, _json, max_size=3),
    init_function=st.just("setup"),
    init_parameters=st.dictionaries(_names, _json, max_size=3),
    requirements=st.lists(_texts.filter(bool), max_size=3).map(tuple),
    timeout_s=st.none() | st.floats(0.001, 1e6),
    concurrency=st.integers(1, 1024),
    serve=st.builds(Serve, port=st.integers(0, 65535), workers=st.integers(1, 9)),
    limits=st.builds(Limits, bytes=st.integers(1, 2**40), seconds=st.floats(0.1, 100)),
    network=st.builds(Network, index=st.lists(_names, max_size=2).map(tuple), proxies=st.dictionaries(_names, _names)),
    keep_git=st.booleans(),
    secrets=st.lists(_names, max_size=2).map(tuple),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_launches)
def test_a_document_is_read_back_as_the_launch_that_wrote_it(launch: Launch) -> None:
    text = json.dumps(launch.to_document())
    assert parse_launch(json.loads(text)) == launch


def test_defaults_are_left_out_of_a_document() -> None:
    assert parse_launch(document(serve={"port": 8080}, limits={"files": 5}, concurrency=16)).to_document() == document(
        limits={"files": 5}
    )


def test_single_variables_alone_are_enough() -> None:
    launch = read_launch({}, {"NUWRAP_CODE_SRC": "git+https://h/r.git", "NUWRAP_HANDLER": "app:main"})
    assert (launch.code_src, launch.handler) == ("git+https://h/r.git", "app:main")


def test_a_flag_wins_over_a_variable_and_that_over_the_document(tmp_path: Path) -> None:
    path = tmp_path / "launch.json"
    path.write_text(json.dumps(document(handler="a", project="a", concurrency=1)))
    environ = {"NUWRAP_HANDLER": "b", "NUWRAP_CONCURRENCY": "2"}
    launch = read_launch({"concurrency": "3"}, environ, launch_file=str(path))
    assert (launch.project, launch.handler, launch.concurrency) == ("a", "b", 3)


@pytest.mark.parametrize(
    ("flags", "environ", "source"),
    [
        ({}, {"NUWRAP_CODE_SRC": "v.py"}, "code_src"),
        ({"base64": "eA=="}, {"NUWRAP_CODE_SRC": "v.py"}, "base64"),
        ({"code_src": "f.py"}, {"NUWRAP_CODE": "x"}, "code_src"),
        ({}, {}, "code"),
    ],
    ids=["variable over document", "flag over variable", "flag over both", "document"],
)
def test_a_source_takes_the_place_of_the_one_below_whatever_its_form(flags: Any, environ: Any, source: str) -> None:
    launch = read_launch(flags, {"NUWRAP_LAUNCH": json.dumps(MINIMAL), **environ})
    assert [key for key in ("code_src", "code", "base64") if getattr(launch, key)] == [source]


def test_two_sources_of_the_same_rank_are_ambiguous() -> None:
    with pytest.raises(LaunchError, match="exactly one of"):
        read_launch({"handler": "f"}, {"NUWRAP_CODE": "x", "NUWRAP_CODE_SRC": "y"})


def test_the_variable_holds_the_document_or_its_file(tmp_path: Path) -> None:
    path = tmp_path / "l.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(MINIMAL).encode())
    assert read_launch({}, {"NUWRAP_LAUNCH": json.dumps(MINIMAL)}) == parse_launch(MINIMAL)
    assert read_launch({}, {"NUWRAP_LAUNCH": f"@{path}"}) == parse_launch(MINIMAL)
    assert read_launch({}, {"NUWRAP_LAUNCH": "{ nonsense"}, launch_file=str(path)) == parse_launch(MINIMAL)
    assert read_launch({"handler": "f", "code": "x"}, {"NUWRAP_LAUNCH": " ", "NUWRAP_PYTHON": ""}).python == "python3"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", r"\$NUWRAP_LAUNCH is not JSON"),
        ("[1]", "is not a mapping"),
        ('{"handler": "f"}', "key 'api' is missing"),
        ('{"api": "nuwrap/v2", "handler": "f", "code": "x"}', "'nuwrap/v2' is none of nuwrap/v1"),
        ('{"api": "nuwrap/v1", "handler": "f", "handler": "g", "code": "x"}', "key 'handler' is given twice"),
        ('{"api": "nuwrap/v1", "handler": "f", "code": "x", "timeout_s": NaN}', "timeout_s: nan"),
        ("[" * 200_000, "is not JSON"),
        ("@/nowhere/launch.json", "cannot read the launch document '/nowhere/launch.json'"),
        ("@", "cannot read the launch document ''"),
    ],
)
def test_a_variable_that_holds_no_document_is_refused(text: str, said: str) -> None:
    with pytest.raises(LaunchError, match=said):
        read_launch({}, {"NUWRAP_LAUNCH": text})


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is not JSON"), (b"\xff", "cannot read"), (b"[" * (DOCUMENT_BYTES + 1), "has more than 16777216 bytes")],
    ids=["empty", "not UTF-8", "too large"],
)
def test_a_file_that_is_no_document_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "l.json"
    path.write_bytes(content)
    with pytest.raises(LaunchError, match=said):
        read_launch({"handler": "f", "code": "x"}, {}, launch_file=str(path))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"concurrency": "many"}, r"concurrency: 'many' is not JSON .*; allowed: JSON of type integer"),
        ({"requirements": "pandas"}, "requirements: 'pandas' is not JSON .*; allowed: JSON of type array"),
        ({"parameters": '{"a": 1, "a": 2}'}, "key 'a' is given twice"),
        ({"handlr": "f"}, "unknown key 'handlr'; did you mean 'handler'"),
        ({"code_src": ""}, "code_src: is empty"),
    ],
)
def test_a_flag_that_cannot_be_read_names_itself(flags: Any, said: str) -> None:
    with pytest.raises(LaunchError, match=said):
        read_launch({"handler": "f", "code": "x", **flags} if "code_src" not in flags else flags, {})


def test_every_key_has_a_flag_and_a_variable_and_a_field() -> None:
    assert set(FIELDS) - {"api"} == set(Launch.__dataclass_fields__) == set(flag_names())
    assert set(VARIABLES.values()) == set(FIELDS) - {"api", "secrets"}
    assert all(schema.get("description") for schema in FIELDS.values())


@pytest.mark.skipif(not (REPOSITORY / "docs" / "schemas").is_dir(), reason="the tests run away from the repository")
def test_the_published_schemas_are_current() -> None:
    command = [sys.executable, str(REPOSITORY / "docs" / "schemas" / "write.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": ""})
    assert (done.returncode, done.stderr) == (0, "")


def test_init_parameters_that_nobody_gets_are_refused() -> None:
    document = {"api": "nuwrap/v1", "handler": "f", "code": "def f(): pass", "init_parameters": {"k": 1}}
    with pytest.raises(LaunchError, match="init_parameters: are given, but no init_function"):
        parse_launch(document)
    assert parse_launch({**document, "init_function": "g"}).init_parameters == {"k": 1}
