"""What is said of a build that failed: its class, where it failed, the last lines, what helps."""

from __future__ import annotations

import pytest
from test_buildkit_log import FAILING, PYTHON, STEPS, read

from nuwrap.engines.failures import Place, classify, stopped, timed_out
from nuwrap.spec.build import Step

ONE = Step("base", f"FROM {PYTHON}:3.11-slim")


@pytest.mark.parametrize(
    ("name", "steps", "kind", "expected"),
    [
        ("instruction", FAILING, "instruction", ["step 7 of 9 (instruction 3) failed with exit code 3: RUN seq 40"]),
        ("buildx-instruction", FAILING, "instruction", ["failed with exit code 3", "\n  40\n"]),
        ("buildkit13-instruction", FAILING, "instruction", ["step 7 of 9", "exit code 3"]),
        ("buildkit13-missing-base", [ONE], "pull", [f"{PYTHON}-nope:3 could not be had"]),
        ("requirement", STEPS, "resolution", ["step 6 of 9 (requirements)", "'nuwrap-no-such-package-at-all==1.0'"]),
        ("missing-base", [ONE], "pull", [f"{PYTHON}-nope:3 could not be had", "not found", "make build-images"]),
        ("buildx-missing-base", [ONE], "pull", [f"{PYTHON}-nope:3 could not be had"]),
        ("missing-runtime", [ONE], "pull", [f"{PYTHON}-nope:3 could not be had", "make build-images"]),
        ("missing-file", [ONE, Step("code", "COPY nothing /x")], "instruction", ["step 2 of 2 (code)", "/nothing"]),
        ("disk", [ONE, Step("instruction 1", "RUN dd …")], "disk", ["step 2 of 2", "docker system df"]),
        ("memory", [ONE, Step("instruction 1", "RUN python3")], "memory", ["step 2 of 2", "more memory"]),
        ("killed", [ONE, Step("instruction 1", "RUN sh")], "memory", ["with exit code 137", "more memory"]),
        (
            "command",
            [ONE, Step("i", "RUN gcc")],
            "instruction",
            ["exit code 127", "'gcc' is not in the image: install"],
        ),
    ],
)
def test_a_recorded_failure_has_its_class_and_what_helps(
    name: str, steps: list[Step], kind: str, expected: list[str]
) -> None:
    log, _ = read(name, steps)
    error = classify(log.last_lines, 1, place=log.place)
    assert error.kind == kind
    for text in expected:
        assert text in str(error)


# What Docker 20.10 and 28 print.
PUSH = Place(phase="push", subject="registry.example:5000/team/name:1")
NO_LOGIN = "no basic auth credentials"
UNAUTHORIZED = "unauthorized: authentication required"
DENIED = "denied: requested access to the resource is denied"
REFUSED = 'Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused'
PULL_DENIED = (
    "ERROR: pull access denied, repository does not exist or may require authorization: server message: "
    "insufficient_scope: authorization failed"
)


@pytest.mark.parametrize("line", [NO_LOGIN, UNAUTHORIZED, DENIED])
def test_a_push_that_is_refused_names_the_login(line: str) -> None:
    error = classify(["The push refers to repository [registry.example:5000/team/name]", line], 1, place=PUSH)
    assert error.kind == "auth"
    assert "docker login registry.example:5000`, with an account that may push" in str(error)


def test_a_push_to_what_does_not_answer_is_no_matter_of_the_login() -> None:
    error = classify([REFUSED], 1, place=PUSH)
    assert error.kind == "push"
    assert "registry.example:5000/team/name:1 could not be pushed" in str(error)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('Get "https://registry.example:5000/v2/": http: server gave HTTP response to HTTPS client', "insecure"),
        ('Get "https://registry.example:5000/v2/": x509: certificate signed by unknown authority', "certificate"),
    ],
)
@pytest.mark.parametrize("place", [PUSH, Place(subject="registry.example:5000/base:1")])
def test_a_registry_that_the_engine_does_not_trust_is_told_with_both_engines_settings(
    line: str, expected: str, place: Place
) -> None:
    error = classify([line], 1, place=place)
    assert error.kind == (place.phase if place.phase == "push" else "pull")
    assert expected in str(error).splitlines()[-1]
    assert "registry.example:5000" in str(error).splitlines()[-1]
    assert "Docker's daemon" in str(error)
    assert "nuwrap config set registries." in str(error)


def test_a_pull_that_is_refused_names_the_login() -> None:
    error = classify([PULL_DENIED], 1, place=Place(subject="private.example/base:1"))
    assert error.kind == "auth"
    assert "docker login private.example`" in str(error)


def test_what_a_command_prints_of_logins_is_its_own_affair() -> None:
    place = Place(Step("instruction 1", "RUN curl https://x.example"), 2, 3)
    assert classify(["curl: (22) error: 403", "exit code: 22"], 1, place=place).kind == "instruction"


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("ERROR: No matching distribution found for panda==9", "panda==9"),
        ("  Because there is no version of panda==9 and you require panda==9, we can conclude", "panda==9"),
        ("nuwrap-host: requirement 'numpy<1' is not met by what was installed: found 2.0", "numpy<1"),
        ("  Failed to build `uwsgi==2.0`", "uwsgi==2.0"),
        ("  cause: you require six<1 and six>2, which are incompatible", "six<1 and six>2"),
        ("  cause: Failed to fetch: https://index.example/six/", "https://index.example/six/"),
        ("  fatal: unable to access 'https://git.example/x.git/': Could not resolve", "https://git.example/x.git/"),
    ],
)
def test_a_requirement_that_could_not_be_had_is_named(line: str, name: str) -> None:
    error = classify([line, "exit code: 4"], 1, place=Place(Step("requirements", "RUN […]"), 3, 6))
    assert error.kind == "resolution"
    assert f"requirement {name!r} could not be had" in str(error)


def test_what_is_no_step_and_no_image_is_the_engines() -> None:
    error = classify(["unknown flag: --iidfile"], 125)
    assert error.kind == "engine"
    assert str(error).startswith("the build failed with exit code 125\n  unknown flag: --iidfile\n")


def test_the_last_twenty_lines_are_shown() -> None:
    text = str(classify([f"line {number}" for number in range(100)], 1))
    assert "  line 80\n" in text
    assert "line 79" not in text


def test_a_stop_and_the_end_of_the_time_are_classes_of_their_own() -> None:
    place = Place(Step("instruction 1", "RUN sleep 1000"), 2, 4)
    assert stopped().kind == "stopped"
    error = timed_out(90, ["waiting"], place=place)
    assert error.kind == "timeout"
    assert "ended after 90 seconds in step 2 of 4 (instruction 1)" in str(error)
