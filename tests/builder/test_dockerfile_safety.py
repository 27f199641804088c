"""No value of a user adds a line to a Dockerfile or changes another: for our reading of BuildKit, and for BuildKit."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from build_plans import OURS, facts, function, image, on_ours, sha, values
from dockerfile_reader import Line, read
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lab import engine_environ, image_name

from nuwrap.errors import NuwrapError, SpecError
from nuwrap.plan.build import plan_build
from nuwrap.plan.dockerfile import Sheet, command_fault, line_fault, quote_value, render
from nuwrap.spec.build import BuildPlan, BuildSettings, SourceFacts

__all__ = ["engine_environ", "image_name"]

# What means something to a Dockerfile, a shell or a requirements file; the rest is any character at all.
PIECES = st.sampled_from(
    ["\n", "\r", "\\", "\\\n", "\\ ", "<<EOF", "<<-'E'", "<<", "<", "EOF", '"', "'", "$", "${", "}", "$PATH", "#", "`",
     "# escape=`", "--mount=type=bind", "--", "[", '["', "]", "=", " ", "\t", "\0", "\u2028", "\x85", "\x0b", "\ufeff",
     "RUN x", ";", "&&", "LABEL a=b", "\nRUN x\n", "\nFROM scratch\n", "a", "b", "é", "\U0001f600", "%s", "{{ x }}",
     "{% if %}"]
)  # fmt: skip
TEXT = st.lists(st.one_of(PIECES, st.text(max_size=3)), max_size=8).map("".join)
slow_is_fine = settings(deadline=None)  # others build images here
PLAIN = SourceFacts("src/fn.py", sha("d"), {"fn.py": sha("d")}, "/x", "fn")


def plan(fields: Any = None, given: Any = None, known: Any = None) -> BuildPlan:
    return plan_build(function(**(fields or {})), values(**(given or {})), BuildSettings(), known or on_ours())


def plan_or_refuse(field: str, fields: Any = None, given: Any = None, known: Any = None) -> BuildPlan | None:
    """None for what was refused, which the error must say of that field."""
    try:
        return plan(fields, given, known)
    except NuwrapError as exc:
        told = str(exc)
    assert field in told
    return None


def shape(found: BuildPlan) -> list[tuple[str, tuple[str, ...]]]:
    """Names and options of the instructions, which are the same whatever the values are."""
    return [(one.name, one.options) for one in read(found.dockerfile)]


def without_labels(found: BuildPlan) -> list[tuple[str, tuple[str, ...]]]:
    return [one for one in shape(found) if one[0] != "LABEL"]


def lines(found: BuildPlan, name: str) -> list[Line]:
    return [one for one in read(found.dockerfile) if one.name == name]


def labels(found: BuildPlan) -> dict[str, str]:
    return {key: value for one in lines(found, "LABEL") for key, value in one.pairs({"PATH": "/bin", "a": "x"}).items()}


@slow_is_fine
@given(TEXT)
def test_an_instruction_is_one_run_line_or_refused(text: str) -> None:
    plain = plan(given={"instructions": ["true"]})
    found = plan_or_refuse("instructions", given={"instructions": [text]})
    if found:
        run = lines(found, "RUN")[0]
        assert shape(found) == shape(plain)
        assert run.rest.endswith(text.strip())
        assert run.taken == ()


@slow_is_fine
@given(TEXT)
def test_a_command_that_passed_no_other_check_is_one_run_line_or_refused(text: str) -> None:
    assume(not command_fault(text))
    sheet = Sheet(base="python:3", user=1, group=1, instructions=[text.strip(), "the next"])
    runs = [one for one in read(render(sheet)) if one.name == "RUN"]
    assert [(one.options, one.rest, one.taken) for one in runs] == [((), text.strip(), ()), ((), "the next", ())]


@slow_is_fine
@given(TEXT)
def test_a_variable_that_stays_has_the_value_that_was_given_or_is_refused(text: str) -> None:
    plain = plan(given={"envs": [{"name": "X", "value": "1", "persist": True}]})
    found = plan_or_refuse("envs[0]", given={"envs": [{"name": "X", "value": text, "persist": True}]})
    if found:
        assert shape(found) == shape(plain)
        assert lines(found, "ENV")[0].pairs({"PATH": "/bin", "a": "x"}) == {"X": text}
        assert found.build_args == {"X": text}


@slow_is_fine
@given(TEXT)
def test_a_variable_of_the_build_alone_is_no_text_of_the_dockerfile(text: str) -> None:
    assume("\0" not in text and "://" not in text)
    found = plan(given={"envs": [{"name": "X", "value": text}]})
    assert [one.rest for one in lines(found, "ARG")] == ["X"]
    assert found.build_args == {"X": text}


@slow_is_fine
@given(TEXT)
def test_a_label_has_the_value_that_was_given_or_is_refused(text: str) -> None:
    if line_fault(text):
        with pytest.raises(SpecError, match=r"which no line of a Dockerfile may have|is no text"):
            quote_value(text)
    else:
        (found,) = read(f"LABEL x={quote_value(text)}")
        assert found.pairs({"PATH": "/bin", "a": "x"}) == {"x": text}


@slow_is_fine
@given(TEXT)
def test_where_the_code_is_from_changes_nothing_but_its_label(text: str) -> None:
    address = f"git+https://example.com/{text}"
    found = plan_or_refuse("code_src", {"code_src": address}, known=on_ours(replace(PLAIN, address=address)))
    if found:
        assert without_labels(found) == without_labels(plan())
        assert labels(found)["org.opencontainers.image.source"] == address


@slow_is_fine
@given(TEXT)
def test_a_base_image_is_a_name_or_refused(text: str) -> None:
    local = image(is_local=True)
    found = plan_or_refuse(
        "base_image", {"base_image": text}, known=facts(replace(local, reference=f"{text or 'python'}:1"))
    )
    if found:
        assert [one.rest for one in lines(found, "FROM")] == [f"{text or 'python'}:1"]


@slow_is_fine
@given(TEXT)
def test_a_requirement_is_one_line_of_its_file_or_refused(text: str) -> None:
    found = plan_or_refuse("requirements", {"requirements": [f"x @ https://example.com/{text}", "y"]})
    if found:
        content = str(next(one.text for one in found.files if one.path == "requirements.txt"))
        assert [one.strip() for one in content.splitlines()] == [f"x @ https://example.com/{text}".strip(), "y"]
        assert not content.splitlines()[0].endswith("\\")
        assert shape(found) == shape(plan({"requirements": ["x", "y"]}))


@slow_is_fine
@given(TEXT)
def test_a_description_and_words_to_find_by_stand_in_no_dockerfile(text: str) -> None:
    found = plan_or_refuse("is not", {"description": text, "labels": [text]})
    assert found is None or shape(found) == shape(plan())


@slow_is_fine
@given(
    st.dictionaries(TEXT.filter(lambda one: "\0" not in one and not one.startswith("/")), st.just(sha("1")), max_size=3)
)
def test_names_of_files_change_nothing_but_the_label_of_inputs(paths: dict[str, str]) -> None:
    assume(not any(".." in path.split("/") for path in paths))
    found = plan(known=on_ours(replace(PLAIN, files=paths)))
    assert shape(found) == shape(plan())
    inputs = json.loads(labels(found)["dev.nuwrap.inputs"])
    assert {name for name in inputs if name.startswith("file:")} == {f"file:{path}" for path in paths}


@slow_is_fine
@given(TEXT)
def test_labels_of_a_hostile_base_image_do_no_harm(text: str) -> None:
    hostile = {**OURS, "dev.nuwrap.features": f"job,{text}", "dev.nuwrap.runtime": text}
    found = plan_or_refuse("label", known=on_ours(labels=hostile))
    if found:
        assert without_labels(found) == without_labels(plan())
        assert labels(found)["dev.nuwrap.features"] == f"job,{text}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("cat <<EOF", "holds '<<', which takes the next lines of the Dockerfile as input"),
        ("cat 3<<-'EOF' x", "holds '<<'"),
        ("--mount=type=bind,source=.,target=/x ls", "begins with '--', which a Dockerfile takes for an option of RUN"),
        ("  --network=host ls", "begins with '--'"),
        ("pip install --index-url https://u:pw12@example.com/simple x", "has an address with a password"),
        ("echo a\u2028b", "has a line break"),
        ("echo a\x1bb", r"holds the character U\+001B"),
        ("echo a \\", "ends with a backslash"),
        ("a\nRUN b", "has a line break"),
    ],
)  # fmt: skip
def test_what_no_run_line_can_hold_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(SpecError, match=reason) as caught:
        plan(given={"instructions": ["true", text]})
    assert "instructions[1]" in str(caught.value)
    assert "allowed: " in str(caught.value)
    assert "pw12" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["grep x <<< y", "a < b > c", "test $((1 + 2)) = 3", "echo '#' # rest", '["rm", "-r", "/x"]', "echo \"a\\b\" 'c'"],
)
def test_an_ordinary_command_stands_in_its_line_as_it_is(text: str) -> None:
    found = lines(plan(given={"instructions": [text]}), "RUN")[0]
    assert (found.options, found.rest, found.taken) == ((), text, ())


def test_a_token_that_a_command_reads_from_its_secret_is_no_password_in_an_address() -> None:
    text = "git clone https://x:$(cat /run/secrets/TOKEN)@example.com/r.git"
    found = lines(plan(given={"instructions": [text], "secrets": ["TOKEN"]}), "RUN")[0]
    assert (found.options, found.rest) == (("--mount=type=secret,id=TOKEN,required=true",), text)


@pytest.mark.parametrize(
    ("env", "reason"),
    [
        ({"name": "BUILDKIT_SYNTAX", "value": "evil/frontend"}, "is an argument of the build engine itself"),
        (
            {"name": "X", "value": "a\nb", "persist": True},
            r"holds the character U\+000A.*allowed with persist: one line",
        ),
        ({"name": "X", "value": "https://u:pw12@example.com"}, "has an address with a password.*give it as a secret"),
        ({"name": "LANG", "value": "C"}, "is set by the base image, which wins over a build's; say persist: true"),
    ],
)
def test_a_variable_that_would_do_harm_or_nothing_is_refused(env: dict[str, Any], reason: str) -> None:
    with pytest.raises(SpecError, match=rf"envs\[0\]: {env['name']} {reason}") as caught:
        plan(given={"envs": [env]}, known=on_ours(env={"LANG": "C.UTF-8"}))
    assert "pw12" not in str(caught.value)


def test_a_secret_that_an_engine_would_read_by_another_name_is_refused() -> None:
    with pytest.raises(SpecError, match="secrets: 'Té' cannot be mounted by an engine; allowed in a build: ASCII"):
        plan(given={"secrets": ["Té"], "instructions": ["true"]})
    assert plan(given={"secrets": ["Té"]}).secrets == ()


def test_a_name_before_the_host_of_an_address_may_be_a_token_and_is_told() -> None:
    address = "https://ghp_12ab@example.com/r.git"
    found = plan(
        {"requirements": [f"x @ git+{address}", "y @ git+ssh://git@example.com/r.git"]},
        {
            "instructions": [f"git clone {address}", "git clone git@example.com:r.git"],
            "envs": [{"name": "A", "value": address}],
        },
    )
    told = [one.partition(" has a name before '@'")[0] for one in found.notes if "if it is a token" in one]
    assert told == ["instruction 1", "requirement 1", "env A"]
    assert not [one for one in found.notes if "ghp_12ab" in one]


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        plan(
            {"base_image": "Python:3", "requirements": ["x @ https://example.com/a\u2028b"]},
            {"instructions": ["cat <<E"], "envs": [{"name": "BUILDKIT_X", "value": ""}]},
        )
    told = str(caught.value).split("\n")
    assert told[0] == "function 'fn' cannot be built:"
    assert [line.split(":")[0].strip() for line in told[1:]] == [
        "base_image", "instructions[0]", "requirements[0]", "envs[0]",
    ]  # fmt: skip
    assert "write 'python'" in told[1]


def test_a_file_outside_the_code_is_refused() -> None:
    for path in ("../x", "/etc/passwd", "a/../../x"):
        with pytest.raises(SpecError, match="is outside the code"):
            plan(known=on_ours(replace(PLAIN, files={path: sha("1")})))


def test_a_line_that_no_engine_takes_is_refused() -> None:
    with pytest.raises(SpecError, match="has more than 65535 bytes"):
        plan(given={"envs": [{"name": "X", "value": "é" * 40_000, "persist": True}]})


def test_the_label_of_inputs_is_small_whatever_the_code_and_the_requirements_are() -> None:
    quotes = 'd"' * 100
    files = {f"{quotes}/{number}.py": sha("1") for number in range(200)}
    found = plan(
        {"requirements": [f"package-{n}>=1,<{'9' * 60}" for n in range(900)]},
        known=on_ours(replace(PLAIN, files=files)),
    )
    (label,) = [one for one in lines(found, "LABEL") if "dev.nuwrap.inputs" in one.rest]
    assert len(label.rest) < 65_535
    assert {"base", "code", "requirements"} <= set(found.inputs)


def test_a_value_that_nothing_checked_breaks_no_line() -> None:
    """The template's own last check: whatever comes to it, from wherever."""
    for broken in ({"base": "a\nRUN b"}, {"base": "a", "mounts": "\n"}, {"base": "a", "build_envs": ["A\nRUN b"]}):
        with pytest.raises(SpecError, match=r"holds the character U\+000A"):
            render(Sheet(**{"user": 1, "group": 1, "instructions": ["true"], **broken}))


VALUES = (
    "", " ", "plain", "two words", " first and last ", 'a "b" c', "it's", "'", '"', "\\", "\\\\", "a\\", 'a\\"', "\\n",
    "$", "$$", "$HOME", "${HOME}", "${HOME:-x}", "\\$HOME", "${", "$(id)", "`id`", "# escape=`", "<<EOF", "a=b c=d",
    "[]", '["a"]', "é ü \U0001f600", "\ufeffx", "\t", "a\tb", "\u00a0", "--mount=x", "{{ x }}", "{% if %}", "%s", "!x",
    "~", "*", "x" * 3000,
)  # fmt: skip


def test_an_engine_reads_each_value_as_it_was_given(
    engine_environ: dict[str, str], image_name: str, tmp_path: Path
) -> None:
    """ENV and LABEL lines as plans quote them, in a Dockerfile that BuildKit reads."""
    names = [f"V{number}" for number in range(len(VALUES))]
    pairs = [f"{name}={quote_value(text)}" for name, text in zip(names, VALUES)]
    text = "\n".join(
        ["# base", "FROM scratch", "ENV HOME=/wrong", *(f"{kind} {one}" for one in pairs for kind in ("ENV", "LABEL"))]
    )
    (tmp_path / "Dockerfile").write_text(text + "\n", "utf-8")
    assert [one.name for one in read(text)] == ["FROM", "ENV", *["ENV", "LABEL"] * len(VALUES)]
    docker(engine_environ, "build", "--quiet", "--tag", image_name, str(tmp_path))
    (found,) = json.loads(docker(engine_environ, "image", "inspect", image_name))
    environment = dict(one.split("=", 1) for one in found["Config"]["Env"])
    assert {name: environment[name] for name in names} == dict(zip(names, VALUES))
    assert {name: found["Config"]["Labels"][name] for name in names} == dict(zip(names, VALUES))


def test_an_engine_runs_each_command_as_it_was_given(
    engine_environ: dict[str, str], image_name: str, python_base: str, tmp_path: Path
) -> None:
    """What is no here-document, option or directive to us is none to BuildKit either."""
    commands = [
        "echo one > /1 # && exit 1", "test $((1 + 2)) = 3 && echo '<' > /2", "[ -f /x ] || echo three > /3",
        '["sh", "-c", "echo four > /4"]', "printf '%s %s\\n' 'a\\b' \"$HOME\" > /5",
    ]  # fmt: skip
    assert not [one for one in commands if command_fault(one)]
    sheet = Sheet(base=python_base, user=1, group=1, instructions=commands)
    text = render(sheet).partition("# code")[0]
    (tmp_path / "Dockerfile").write_text(text + "RUN cat /1 /2 /3 /4 /5 > /all\n", "utf-8")
    docker(engine_environ, "build", "--quiet", "--tag", image_name, str(tmp_path))
    said = docker(engine_environ, "run", "--rm", image_name, "cat", "/all")
    assert said.split("\n") == ["one", "<", "three", "four", "a\\b /root", ""]


@pytest.fixture
def python_base(engine_environ: dict[str, str]) -> str:
    for version in ("3.11", "3.10", "3.9"):
        if docker(engine_environ, "image", "ls", "--quiet", f"python:{version}-slim"):
            return f"python:{version}-slim"
    pytest.skip("Docker has no image python:3.x-slim")


def docker(environ: dict[str, str], *arguments: str) -> str:
    program = [environ.get("NUWRAP_DOCKER", "docker"), *arguments]
    done = subprocess.run(
        program, env={**environ, "DOCKER_BUILDKIT": "1"}, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
