"""BuildKit's plain log: which step runs, how it ended.

As Docker 20.10 has printed it in the lab, buildx 0.14 with the same daemon, and buildx with BuildKit 0.13.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from nuwrap.engines.buildkit_log import BuildLog
from nuwrap.spec.build import Event, Step

LOGS = Path(__file__).parent / "engine_logs"
PYTHON = "127.0.0.1:5000/library/python"
STEPS = [
    Step("base", f"FROM {PYTHON}:3.11-slim"),
    Step("runtime", f"COPY --from={PYTHON}:3.10-slim /etc/os-release /opt/nuwrap/os-release"),
    Step("instruction 1", 'RUN echo "one $STAGE" && sleep 1.2 && echo two >&2'),
    Step("instruction 2", "RUN --mount=type=secret,id=TOKEN test -s /run/secrets/TOKEN && printf 'no newline'"),
    Step("requirements", "COPY requirements.txt /opt/nuwrap-image/requirements.txt"),
    Step("requirements", 'RUN ["python3", "-m", "pip", "install", "-r", "/opt/nuwrap-image/requirements.txt"]'),
    Step("code", "WORKDIR /opt/function"),
    Step("code", "COPY code /opt/function"),
    Step("records", "COPY records /opt/nuwrap-image"),
]
FAILING = [*STEPS[:6], Step("instruction 3", "RUN seq 40 && exit 3"), *STEPS[7:]]


def read(name: str, steps: list[Step], *, piece: int = 1 << 20) -> tuple[BuildLog, list[Event]]:
    """Read a recorded log in pieces of so many bytes."""
    events: list[Event] = []
    log = BuildLog(steps, events.append)
    data = (LOGS / f"{name}.log").read_bytes()
    for start in range(0, len(data), piece):
        log.feed(data[start : start + piece])
    log.end()
    return log, events


@pytest.mark.parametrize("name", ["built", "buildx-built", "buildkit13-built"])
def test_each_step_of_the_plan_begins_and_ends_once(name: str) -> None:
    _, events = read(name, STEPS)
    for kind in ("step", "done"):
        assert sorted(one.number for one in events if one.kind == kind) == list(range(1, 10))
    assert {(one.text, one.total) for one in events} == {(step.text, 9) for step in STEPS}


@pytest.mark.parametrize("name", ["built", "buildx-built"])
def test_a_step_that_ran_has_its_seconds(name: str) -> None:
    _, events = read(name, STEPS)
    done = {one.number: one for one in events if one.kind == "done"}
    assert done[3].cache is False
    assert done[3].seconds is not None
    assert 1.2 <= done[3].seconds < 10
    assert done[4].cache is False  # its output has no newline before DONE
    assert {one.number for one in events if one.cache} <= {1, 2}


@pytest.mark.parametrize("name", ["cached", "buildx-cached"])
def test_a_step_from_the_cache_says_so(name: str) -> None:
    _, events = read(name, STEPS)
    assert {one.number for one in events if one.cache} >= set(range(2, 10))
    assert not [one for one in events if one.cache and one.seconds is not None]


@pytest.mark.parametrize("piece", [1, 7, 100])
def test_a_log_that_comes_in_pieces_says_the_same(piece: int) -> None:
    assert read("built", STEPS, piece=piece)[1] == read("built", STEPS)[1]


@pytest.mark.parametrize("name", ["instruction", "buildx-instruction", "buildkit13-instruction"])
def test_a_step_that_fails_is_named_with_its_last_lines(name: str) -> None:
    log, events = read(name, FAILING)
    assert (log.place.step, log.place.number, log.place.total) == (FAILING[6], 7, 9)
    assert log.last_lines[:-1] == [str(number) for number in range(22, 41)]
    assert log.last_lines[-1].endswith("exit code: 3")
    assert [one.number for one in events if one.kind == "step"][-1] == 7
    assert 7 not in [one.number for one in events if one.kind == "done"]


@pytest.mark.parametrize("name", ["missing-base", "buildx-missing-base", "buildkit13-missing-base", "missing-runtime"])
def test_an_image_that_is_missing_is_named(name: str) -> None:
    log, _ = read(name, [Step("base", f"FROM {PYTHON}-nope:3"), Step("code", "COPY code /x")])
    assert log.place.step is None
    assert log.place.subject == f"{PYTHON}-nope:3"
    assert log.last_lines == [f"ERROR: {PYTHON}-nope:3: not found"]


def test_scratch_is_no_step_of_buildkit_and_shifts_no_number() -> None:
    steps = [Step("base", "FROM scratch"), Step("code", "WORKDIR /x"), Step("code", "COPY code /x")]
    _, events = read("scratch", steps)
    assert [(one.kind, one.number) for one in events] == [("step", 2), ("done", 2), ("step", 3), ("done", 3)]


def test_steps_of_another_dockerfile_are_not_taken_for_the_plans() -> None:
    assert read("built", STEPS[:3])[1] == []


def test_a_cache_that_cannot_be_had_is_no_failure_of_the_build() -> None:
    log, events = read("buildkit13-built", STEPS)
    assert log.place.step is None
    assert not [one for one in events if one.kind == "note"]  # the first build has none
    log.feed(b"#90 exporting cache to registry\n#90 ERROR: connection refused\n")
    assert events[-1] == Event("note", "exporting cache to registry has failed: connection refused")


def test_what_a_step_prints_is_no_end_of_it() -> None:
    events: list[Event] = []
    log = BuildLog([Step("a", "RUN x")], events.append)
    log.feed(b"#4 [1/1] RUN x\n#4 0.1 DONE 1.0s\n#4 0.2 #9 DONE 1.0s\n#4 0.3 ERROR: no\n")
    assert [one.kind for one in events] == ["step"]
    log.feed(b"#4 DONE 0.4s\n")
    assert [one.kind for one in events] == ["step", "done"]


def test_a_log_without_steps_has_its_last_lines() -> None:
    log = BuildLog(STEPS, lambda _event: None)
    log.feed(b"unknown flag: --iidfile\nSee 'docker build --help'.")
    log.end()
    assert log.place.step is None
    assert log.last_lines == ["unknown flag: --iidfile", "See 'docker build --help'."]


def test_a_line_without_an_end_does_not_fill_the_memory() -> None:
    log = BuildLog(STEPS, lambda _event: None)
    for _ in range(100):
        log.feed(b"x" * 100_000)
    log.end()
    assert len("".join(log.last_lines)) < 10_000
