"""Plans of images: layers, names, digests, notes, and what is refused, from facts alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from build_plans import (
    BUILDS,
    CODE,
    GOLDEN,
    OURS,
    RUNTIME,
    Build,
    as_document,
    facts,
    function,
    image,
    on_ours,
    own_base,
    sha,
    values,
)
from dockerfile_reader import read

from nuwrap.errors import SpecError
from nuwrap.plan.build import plan_build
from nuwrap.plan.references import own_name
from nuwrap.plan.rendering import templates_dir
from nuwrap.spec.build import LABEL_API, LABEL_FEATURES, BuildPlan, BuildSettings, ContextFile, SourceFacts
from nuwrap_runtime.launch import parse_launch

ROOT = Path(__file__).parents[2]


def plan(fields: Any = None, given: Any = None, known: Any = None, **settings: Any) -> BuildPlan:
    return plan_build(
        function(**(fields or {})), values(**(given or {})), BuildSettings(**settings), known or on_ours()
    )


def run_shell(command: str, path: str) -> subprocess.CompletedProcess[str]:
    words = ["/bin/sh", "-c", command]
    return subprocess.run(words, env={"PATH": path}, capture_output=True, text=True, check=False)


def told(fields: Any = None, given: Any = None, known: Any = None, **settings: Any) -> list[str]:
    """The lines of the refusal."""
    with pytest.raises(SpecError) as caught:
        plan(fields, given, known, **settings)
    assert caught.value.exit_code == 2
    return [line.strip() for line in str(caught.value).split("\n")[1:]]


@pytest.mark.parametrize("name", BUILDS)
def test_a_plan_is_the_one_that_was_looked_at(name: str) -> None:
    """After a change on purpose: .venv/bin/python tests/builder/golden/write.py, and look at the difference."""
    found = BUILDS[name].plan()
    assert found.dockerfile == (GOLDEN / f"{name}.Dockerfile").read_text("utf-8")
    assert as_document(found) == (GOLDEN / f"{name}.json").read_text("utf-8")


def test_no_golden_file_is_left_of_a_build_that_is_gone() -> None:
    assert {path.stem for path in GOLDEN.iterdir() if path.suffix in (".json", ".Dockerfile")} == set(BUILDS)


def test_the_same_build_is_the_same_plan_to_the_byte_in_another_process() -> None:
    other = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from build_plans import BUILDS, as_document\n"
        "for plan in [build.plan() for build in BUILDS.values()]: sys.stdout.write(plan.dockerfile + as_document(plan))"
    )
    done = subprocess.run(
        [sys.executable, "-c", other, str(Path(__file__).parent)],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        check=True,
    )
    plans = [build.plan() for build in BUILDS.values()]
    assert done.stdout.decode() == "".join(one.dockerfile + as_document(one) for one in plans)
    assert plans == [build.plan() for build in BUILDS.values()]


def test_layers_lie_in_the_order_of_how_seldom_they_change() -> None:
    found = plan(
        {"requirements": ["numpy"]}, {"instructions": ["true", "false"], "envs": [{"name": "A", "value": "1"}]}, facts()
    )
    assert [one.key for one in found.steps] == [
        "base", "runtime", "places", "bytecode", "instruction 1", "instruction 2", "requirements", "requirements",
        "code", "code", "records",
    ]  # fmt: skip
    names = [one.name for one in read(found.dockerfile)]
    assert names == [
        "FROM", "USER", "COPY", "RUN", "ENV", "RUN", "ARG", "RUN", "RUN", "COPY", "RUN", "WORKDIR", "COPY", "COPY",
        "ENV",
        *["LABEL"] * names.count("LABEL"), "USER", "STOPSIGNAL", "ENTRYPOINT", "CMD",
    ]  # fmt: skip


def test_steps_are_the_lines_that_an_engine_carries_out() -> None:
    for build in BUILDS.values():
        found = build.plan()
        carried = [
            line for line in found.dockerfile.split("\n") if line.split(" ")[0] in ("FROM", "RUN", "COPY", "WORKDIR")
        ]
        assert [one.text for one in found.steps] == carried


def test_a_code_edit_changes_no_line_before_the_code() -> None:
    edited = replace(CODE, files={"fn.py": sha("e"), "more.py": sha("f")}, revision=sha("e"))
    before, after = (plan({"requirements": ["numpy"]}, known=on_ours(one)) for one in (CODE, edited))
    assert before.tag != after.tag
    assert before.dockerfile.partition("LABEL")[0] == after.dockerfile.partition("LABEL")[0]
    changed = {one.path for one in after.files} - {one.path for one in before.files if one in after.files}
    assert changed == {"code/more.py", "records/source.json"}


def test_requirements_stand_in_the_users_order_each_once() -> None:
    found = plan({"requirements": ["zope.interface", "attrs", "zope.interface", "attrs>1"]})
    assert ContextFile("requirements.txt", "zope.interface\nattrs\nattrs>1\n") in found.files
    assert not [one for one in plan().files if one.path == "requirements.txt"]


def test_a_base_that_becomes_nuclios_processor_still_does() -> None:
    entry = ["/opt/nuwrap/bin/nuwrap-host", "exec", "--"]
    found = plan(known=on_ours(entrypoint=entry, command=["processor"]))
    assert found.dockerfile.endswith(f'ENTRYPOINT {json.dumps(entry)}\nCMD ["processor"]\n')
    other = plan(known=on_ours(entrypoint=["/bin/sh"], command=["processor"]))
    assert other.dockerfile.endswith('ENTRYPOINT ["/opt/nuwrap/bin/nuwrap-host"]\nCMD ["job"]\n')


def test_what_the_image_runs_by_itself_is_the_functions_job() -> None:
    found = plan({"requirements": ["numpy"], "init_function": "setup", "project": "p"})
    text = next(one.text for one in found.files if one.path == "records/launch.json")
    launch = parse_launch(json.loads(str(text)))
    assert (launch.mode, launch.project, launch.function, launch.handler) == ("job", "p", "fn", "f")
    assert (launch.code_src, launch.init_function, launch.requirements) == ("src/fn.py", "setup", ("numpy",))
    assert (launch.run, launch.inputs, launch.parameters) == ("", {}, {})


@pytest.mark.parametrize("name", [*BUILDS])
def test_an_image_runs_as_a_user_without_rights_and_the_build_as_root(name: str) -> None:
    users = [one.rest for one in read(BUILDS[name].plan().dockerfile) if one.name == "USER"]
    assert users == ["0:0", "1000:1001" if name == "user" else "8877:999"]


def test_the_places_that_can_be_written_are_made_in_a_base_that_is_not_ours() -> None:
    line = "RUN mkdir -p /work /cache /tmp && chmod 1777 /work /cache /tmp"
    assert line in plan(known=facts()).dockerfile
    assert line not in plan().dockerfile


def test_variables_do_not_stay_unless_they_are_to() -> None:
    envs = [{"name": "A", "value": "1"}, {"name": "B", "value": "2", "persist": True}]
    found = plan(given={"envs": envs, "instructions": ["true"]})
    read_lines = read(found.dockerfile)
    assert [one.rest for one in read_lines if one.name == "ARG"] == ["A", "B"]
    assert next(one.rest for one in read_lines if one.name == "ENV") == 'B="2"'
    assert found.build_args == {"A": "1", "B": "2"}
    assert found.tag != plan(given={"envs": [{**envs[0], "value": "3"}, envs[1]], "instructions": ["true"]}).tag


def test_a_variable_of_the_base_that_stays_is_set_before_the_instructions() -> None:
    given = {"envs": [{"name": "LANG", "value": "C", "persist": True}], "instructions": ["true"]}
    found = plan(given=given, known=on_ours(env={"LANG": "en"}))
    order = [one.rest for one in read(found.dockerfile) if one.name in ("ARG", "ENV", "RUN")]
    assert order[:2] == ['LANG="C"', "true"]
    assert found.build_args == {}


def test_the_user_has_a_name_unless_the_base_or_the_function_gives_one() -> None:
    own = {"name": "USER", "value": "me"}
    assert 'USER="nuwrap"' in plan(known=facts()).dockerfile
    assert 'USER="nuwrap"' not in plan(known=facts(image(env={"USER": "app"}))).dockerfile
    assert 'USER="nuwrap"' not in plan(given={"envs": [own]}, known=facts()).dockerfile


def test_secrets_are_mounted_where_they_may_be_read_and_nowhere_else() -> None:
    given = {"secrets": ["A", "B"], "instructions": ["true"]}
    found = plan({"requirements": ["numpy"]}, given, facts())
    mounts = ("--mount=type=secret,id=A,required=true", "--mount=type=secret,id=B,required=true")
    mounted = [one.options for one in read(found.dockerfile) if one.name == "RUN"]
    assert mounted == [(), (), mounts, mounts]
    assert found.secrets == ("A", "B")
    assert any("files /run/secrets/NAME" in one for one in found.notes)


def test_wheels_are_installed_without_an_index_and_without_secrets() -> None:
    found = Build(on_ours(), {"requirements": ["x"]}, {"secrets": ["A"], "instructions": ["true"]}, wheels=True).plan()
    runs = [one for one in read(found.dockerfile) if one.name == "RUN"]
    assert runs[0].options
    assert runs[1].options == ()
    assert runs[1].command[-3:] == ["--no-index", "--find-links", "/opt/nuwrap-image/wheels"]
    assert "COPY wheels /opt/nuwrap-image/wheels" in [one.text for one in found.steps]
    assert BUILDS["wheels"].plan().secrets == ()


def test_a_network_is_mounted_where_an_index_is_asked_and_makes_no_other_image() -> None:
    mount = "--mount=type=secret,id=NUWRAP_NETWORK,required=true"
    mounted, plain = (Build(on_ours(), {"requirements": ["x"]}, has_network=one).plan() for one in (True, False))
    (install,) = [one for one in read(mounted.dockerfile) if one.name == "RUN"]
    assert install.options == (mount,)
    assert mount not in plain.dockerfile
    assert (mounted.content, mounted.inputs) == (plain.content, plain.inputs)


@pytest.mark.parametrize(
    ("fields", "given", "how"),
    [
        ({}, {"instructions": ["true"]}, {}),
        ({"requirements": ["x"]}, {}, {"wheels": True, "mounts_context": True}),
    ],
    ids=["no requirements", "wheels"],
)
def test_a_network_is_mounted_nowhere_else(fields: Any, given: Any, how: Any) -> None:
    assert "NUWRAP_NETWORK" not in Build(on_ours(), fields, given, has_network=True, **how).plan().dockerfile


def test_wheels_that_an_engine_mounts_stay_in_no_layer() -> None:
    mounted, copied = (
        Build(on_ours(), {"requirements": ["x"]}, wheels=True, mounts_context=one).plan() for one in (True, False)
    )
    (install,) = [one for one in read(mounted.dockerfile) if one.name == "RUN"]
    assert install.options == ("--mount=type=bind,source=wheels,target=/opt/nuwrap-image/wheels",)
    assert not [one.text for one in mounted.steps if "COPY wheels" in one.text]
    assert mounted.tag == copied.tag
    assert any("the wheels stay in a layer" in one for one in copied.notes)
    assert mounted.notes == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fn", "fn"),
        ("team/fn:2", "team/fn"),
        ("registry:5000/team/fn:1", "registry:5000/team/fn"),
        ("registry:5000/team/fn", "registry:5000/team/fn"),
        (f"registry:5000/team/fn@{sha('1')}", "registry:5000/team/fn"),
        (f"ghcr.io/team/fn:1.2@{sha('1')}", "ghcr.io/team/fn"),
        ("[2001:db8::1]:5000/fn:1", "[2001:db8::1]:5000/fn"),
    ],
)
def test_an_image_keeps_the_name_that_the_function_gives(name: str, expected: str) -> None:
    found = plan({"image": name}, registry="other:5000")
    assert found.name == expected
    assert found.reference == f"{expected}:{found.content.removeprefix('sha256:')[:16]}"


def test_an_image_without_a_name_gets_one_in_the_settings_registry() -> None:
    assert plan().name == "default-fn"
    assert plan(registry="host:5000").name == "host:5000/default-fn"
    assert plan(registry="host:5000/team/").name == "host:5000/team/default-fn"


@pytest.mark.parametrize("wrong", ["https://host:5000", "host:5000/Team", "a b", "host:x/y", "host:5000/team:1"])
def test_a_registry_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(SpecError, match=r"registry: .* is no place for images"):
        plan(registry=wrong)


@pytest.mark.parametrize("wrong", ["Registry/Fn", "a b", "fn:", "fn@sha256:12", "-x", "https://host/fn", "fn:1:2"])
def test_a_name_that_no_registry_takes_is_refused(wrong: str) -> None:
    with pytest.raises(SpecError, match=r"image: .* names no image"):
        plan({"image": wrong})


def test_two_functions_never_share_a_name() -> None:
    pairs = [
        ("p", "my_fn"), ("p", "myfn"), ("p", "my-fn"), ("p", "my.fn"), ("p", "My_fn"), ("p", "my__fn"), ("p", "my--fn"),
        ("p-my", "fn"), ("p", "my"), ("p", "MY"), ("p", "x" * 128), ("p", "x" * 127), ("p", "aéa"), ("p", "aèa"),
        ("a_", "b"), ("a", "_b"), ("a", "b_"), ("p", own_name("p", "MY").removeprefix("p-")),
    ]  # fmt: skip
    names = [own_name(*pair) for pair in pairs]
    assert len(set(names)) == len(pairs)
    for name in names:
        assert plan({"image": name}).name == name
        assert len(name) <= 128
    assert names[:4] == ["p-my_fn", "p-myfn", "p-my-fn", "p-my.fn"]


def test_content_decides_the_tag() -> None:
    given = {"instructions": ["true"], "envs": [{"name": "A", "value": "1"}], "secrets": ["S"]}
    fields = {"requirements": ["numpy"]}
    plain = plan(fields, given)
    others = [
        plan({"requirements": ["numpy>1"]}, given),
        plan({**fields, "handler": "g"}, given),
        plan({**fields, "init_function": "g"}, given),
        plan({**fields, "name": "other"}, given),
        plan(fields, {**given, "instructions": ["false"]}),
        plan(fields, {**given, "envs": [{"name": "A", "value": "2"}]}),
        plan(fields, {**given, "secrets": ["T"]}),
        plan(fields, given, on_ours(replace(CODE, files={"fn.py": sha("9")}))),
        plan(fields, given, on_ours(replace(CODE, files={"f.py": sha("d")}))),
        plan(fields, given, on_ours(replace(CODE, is_executable=frozenset({"fn.py"})))),
        plan(fields, given, on_ours(replace(CODE, revision="other"))),
        plan(fields, given, replace(on_ours(), base=replace(own_base(), pinned=f"host:5000/nuwrap/python@{sha('9')}"))),
        plan(fields, given, user=1),
        plan_build(function(**fields), values(**given), BuildSettings(), on_ours(), wheels=True),
    ]
    assert len({plain.tag, *(one.tag for one in others)}) == len(others) + 1
    assert len(plain.tag) == 16
    assert plain.content.startswith(f"sha256:{plain.tag}")
    assert plain.labels["dev.nuwrap.content"] == plain.content


def test_what_is_not_in_the_image_does_not_decide_its_tag() -> None:
    """Not where the code lies on this machine, not words for people, not who builds and where to."""
    plain = plan({"code_src": "/home/a/fn.py"})
    assert plan({"code_src": "/home/b/fn.py"}).tag == plain.tag
    assert plan({"code_src": "/home/a/fn.py"}, known=on_ours(replace(CODE, folder="/other"))).tag == plain.tag
    same = plan({"code_src": "/home/a/fn.py", "description": "words", "labels": ["x"]}, registry="host:5000", retries=9)
    assert same.tag == plain.tag
    assert plan({"code_src": "/home/a/fn.py"}, known=on_ours(labels={**OURS, "other": "label"})).tag == plain.tag


def test_a_base_that_the_engine_alone_has_is_named_and_not_pinned() -> None:
    found = plan(known=facts(image(is_local=True)))
    assert found.steps[0].text == "FROM python:3.11-slim"
    assert any("is not pinned by a digest" in one for one in found.notes)
    assert found.tag != plan(known=facts(image(is_local=True, digit="9"))).tag


def test_labels_tell_of_the_image_and_its_base() -> None:
    git = "git+https://example.com/r.git#v1"
    source = SourceFacts(git, "1234abc", {"main.py": sha("1")}, "/x")
    found = plan({"code_src": git}, known=facts(source=source))
    assert {name: text for name, text in found.labels.items() if name.startswith("org.")} == {
        "org.opencontainers.image.source": git,
        "org.opencontainers.image.revision": "1234abc",
        "org.opencontainers.image.base.name": "python:3.11-slim",
        "org.opencontainers.image.base.digest": sha("a"),
        "org.opencontainers.image.title": "fn",
    }
    assert json.loads(found.labels["dev.nuwrap.inputs"]) == found.inputs
    assert found.inputs["file:main.py"] == "1" * 12
    assert (found.labels["dev.nuwrap.python"], found.labels["dev.nuwrap.runtime"]) == ("3.11", "0.1.0")


def test_a_path_of_this_machine_is_in_no_label() -> None:
    found = plan({"code_src": "/home/me/fn.py"}, known=on_ours(replace(CODE, address="/home/me/fn.py")))
    assert "/home/me" not in found.dockerfile
    assert "/somewhere" not in found.dockerfile


def test_the_digest_of_function_and_task_says_nothing_of_who_builds() -> None:
    label = "dev.nuwrap.spec"
    plain = plan().labels[label]
    assert plan(given={"engine": "kaniko", "push": True, "rebuild": True}).labels[label] == plain
    assert plan({"uuid": "5ce1b6b0-8f4e-4d9a-9c43-24b4c0a9e3f1"}).labels[label] == plain
    assert plan({"description": "x"}).labels[label] != plain


def test_the_wrong_python_is_refused_with_the_nearest_ways_out() -> None:
    (line,) = told({"base_image": "python:3.12-slim"}, known=facts(image("python:3.12-slim", python="3.12")))
    assert line == (
        "base_image: 'python:3.12-slim' has Python 3.12, python_version is PYTHON3_11; use base_image "
        "'python:3.11-slim', or python_version PYTHON3_12, or the setting build.install_python, which puts Python 3.11 "
        "into it"
    )
    for name in ("host:5000/x:3.12.4-slim", f"host:5000/x:3.12.4-slim@{sha('1')}"):
        (line,) = told({"base_image": name}, known=facts(image(name, python="3.12")))
        assert "use base_image 'host:5000/x:3.11-slim'" in line
    (line,) = told({"base_image": "team/base:7"}, known=facts(image("team/base:7", python="3.7")))
    assert "use a base_image with Python 3.11, or the setting build.install_python" in line


def test_a_base_without_python_is_refused_unless_one_is_to_be_installed() -> None:
    cuda = facts(image("nvidia/cuda:12.4-runtime", python=""))
    (line,) = told({"base_image": "nvidia/cuda:12.4-runtime"}, known=cuda)
    assert "has no Python (no python3 on its PATH), python_version is PYTHON3_11" in line
    found = plan({"base_image": "nvidia/cuda:12.4-runtime"}, known=cuda, install_python=True)
    step = next(one.text for one in found.steps if one.key == "python")
    assert "/opt/nuwrap/bin/uv python install" in step
    assert 'ENV PATH="/opt/python/current/bin:$PATH"' in found.dockerfile
    same = plan({"base_image": "python:3.11-slim"}, known=facts(), install_python=True)
    assert "uv python install" not in same.dockerfile


def test_a_base_of_musl_is_refused() -> None:
    alpine = facts(image("python:3.11-alpine", libc="musl"))
    (line,) = told({"base_image": "python:3.11-alpine"}, known=alpine)
    assert "is built on musl" in line
    assert "'python:3.11-slim'" in line
    assert told({"base_image": "python:3.11-alpine"}, known=alpine, install_python=True) == [line]


def test_a_base_of_which_nothing_is_known_is_looked_at_by_the_build() -> None:
    found = plan(known=facts(image("host:5000/base:1", python="", libc="", looked=False, architecture="")))
    step = next(one for one in found.steps if one.key == "python")
    assert any("is not known before the build" in one for one in found.notes)
    command = step.text.removeprefix("RUN ")
    done = run_shell(command, "/nowhere")
    assert done.returncode == 1
    assert done.stderr == "the base image has no python3 on its PATH, the function asks for Python 3.11\n"


def test_the_look_at_a_base_passes_for_the_right_python_alone(tmp_path: Path) -> None:
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    (tmp_path / "python3").symlink_to(sys.executable)
    for version, code in ((here, 0), ("3.9" if here != "3.9" else "3.10", 1)):
        unknown = facts(image(python="", looked=False))
        found = plan({"python_version": f"PYTHON{version.replace('.', '_')}"}, known=unknown)
        command = next(one.text for one in found.steps if one.key == "python").removeprefix("RUN ")
        done = run_shell(command, str(tmp_path))
        assert done.returncode == code
        assert (f"has Python {here}, the function asks for {version}" in done.stderr) == bool(code)


def test_images_for_two_architectures_do_not_go_together() -> None:
    (line,) = told(known=facts(image(architecture="arm64")))
    assert "is for arm64, 'host:5000/nuwrap/runtime:0.1.0' for amd64" in line
    assert plan(known=facts(image(architecture=""))).tag


def test_a_runtime_that_reads_other_documents_is_refused() -> None:
    other = replace(RUNTIME, labels={**OURS, LABEL_API: "nuwrap/v2"})
    (line,) = told(known=facts(runtime=other))
    assert "reads nuwrap/v2, this nuwrap writes nuwrap/v1; run make build-images" in line


def test_a_runtime_that_cannot_install_is_refused_where_there_is_something_to_install() -> None:
    old = facts(runtime=replace(RUNTIME, labels={**OURS, LABEL_FEATURES: "compile,fetch,job,serve"}))
    (line,) = told({"requirements": ["numpy"]}, known=old)
    assert "cannot install, which this build needs; it can compile,fetch,job,serve; run make build-images" in line
    assert plan(known=old).tag


@pytest.mark.parametrize(
    ("reference", "pattern", "is_allowed"),
    [
        ("python:3.11-slim", "python:3.*", True),
        ("docker.io/library/python:3.11-slim", "python:3.*", True),
        ("index.docker.io/library/python:3.11-slim", "python:3.*", True),
        ("python:3.11-slim", "docker.io/library/python:3.*", True),
        ("python:3.11-slim", "docker.io/*", True),
        ("team/base:1", "docker.io/team/*", True),
        ("python", "python:latest", True),
        ("host:5000/team/base:1", "host:5000/team/*", True),
        (f"python:3.11@{sha('a')}", "python:3.*", True),
        ("host:5000/team/base:1", "docker.io/*", False),
        ("host:5000/library/python:3.11", "python:3.*", False),
        ("evil.example.com/python:3.11", "python:3.*", False),
        ("python:2.7", "python:3.*", False),
        ("localhost/python:3.11", "python:3.*", False),
        ("team/python:3.11", "python:3.*", False),
    ],
)
def test_base_images_are_those_that_the_settings_allow(reference: str, pattern: str, is_allowed: bool) -> None:
    fields, known, allowed = {"base_image": reference}, facts(image(reference)), ["other/*", pattern]
    if is_allowed:
        assert plan(fields, known=known, allowed_base_images=allowed).tag
    else:
        (line,) = told(fields, known=known, allowed_base_images=allowed)
        assert f"allowed_base_images: other/*, {pattern}" in line


def test_our_own_base_images_need_no_leave() -> None:
    assert plan(allowed_base_images=["python:3.*"]).tag


def test_a_base_with_another_functions_code_is_emptied_first() -> None:
    assert "RUN rm -rf /opt/function" in BUILDS["on-a-function"].plan().dockerfile
    assert "rm -rf" not in plan().dockerfile


def test_the_template_is_in_the_wheel_and_found_there(tmp_path: Path) -> None:
    assert templates_dir() == ROOT / "templates"
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("nuwrap-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    ask = "from nuwrap.plan.rendering import templates_dir; print(templates_dir())"
    done = subprocess.run(
        [sys.executable, "-c", ask],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(tmp_path / "installed/nuwrap/templates")
    assert (tmp_path / "installed/nuwrap/templates/Dockerfile.j2").read_bytes() == (
        ROOT / "templates/Dockerfile.j2"
    ).read_bytes()
