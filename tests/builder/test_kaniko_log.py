"""What kaniko's log tells: the plan's steps with hit or miss, and why a build failed. The logs are of real builds:
osscontainertools/kaniko 1.28.3, GoogleContainerTools/kaniko 1.24.0 (`google-…`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from orders import make_order

from nuwrap.command import Stops
from nuwrap.engines import Order
from nuwrap.engines.kaniko_failures import find_failure
from nuwrap.engines.kaniko_log import Line, Log, read_line
from nuwrap.engines.kaniko_place import Ended, Watch
from nuwrap.errors import BuildError
from nuwrap.spec.build import Event

LOGS = Path(__file__).parent / "kaniko_logs"
BASE = "FROM 127.0.0.1:5000/library/python:3.11-slim"
MAKE = 'RUN echo "$GREETING" && mkdir -p /opt/made && echo one > /opt/made/one'
INSTALL = (
    'RUN ["python3", "-m", "pip", "install", "--no-cache-dir", "--disable-pip-version-check", '
    '"--root-user-action=ignore", "-r", "/opt/nuwrap-image/requirements.txt"]'
)
LINES = [
    "# base",
    BASE,
    "USER 0:0",
    "ARG GREETING",
    "# instruction 1",
    MAKE,
    "# requirements",
    "COPY requirements.txt /opt/nuwrap-image/requirements.txt",
    INSTALL,
    "# code",
    "WORKDIR /opt/function",
    "COPY code /opt/function",
    "# image",
    'LABEL x="y"',
]
DESTINATION = "127.0.0.1:5000/play/two:1"


def order(folder: Path, lines: Sequence[str] = LINES, destination: str = DESTINATION) -> Order:
    return make_order(folder, lines, destinations=[destination], environ={}, push=True)


def lines_with(old: str, new: str) -> list[str]:
    assert any(old in line for line in LINES)
    return [line.replace(old, new) for line in LINES]


def read(made: Order, name: str, *, is_done: bool = True, piece: int = 4096) -> tuple[Log, list[Event]]:
    """Feed a recorded log, piece by piece; the clock goes on by a second at each look."""
    events: list[Event] = []
    ticks: Iterator[float] = map(float, itertools.count())
    log = Log(made.plan.steps, made.destinations, events.append, clock=lambda: next(ticks))
    data = (LOGS / f"{name}.log").read_bytes()
    for at in range(0, len(data), piece):
        log.feed(data[at : at + piece])
    log.end(is_done=is_done)
    return log, events


def outcomes(events: Sequence[Event]) -> list[tuple[int, bool | None]]:
    return [(one.number, one.cache) for one in events if one.kind == "done"]


MISSES = [(1, None), (2, False), (3, False), (4, False), (5, False), (6, False)]
HITS = [(1, None), (2, True), (3, False), (4, True), (5, True), (6, False)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cold", MISSES),
        ("cached", HITS),
        ("google-cold", MISSES),
        ("google-cached", [*HITS[:4], (5, False), HITS[5]]),
        ("text", MISSES),
        ("color", MISSES),
    ],
)
def test_the_steps_of_the_plan_are_told_with_what_the_cache_had(
    tmp_path: Path, name: str, expected: list[tuple[int, bool | None]]
) -> None:
    made = order(tmp_path)
    _, events = read(made, name)
    assert outcomes(events) == expected
    begun = [one for one in events if one.kind == "step"]
    assert [one.text for one in begun] == [step.text for step in made.plan.steps]
    assert {one.total for one in events if one.kind in ("step", "done")} == {6}
    assert all(one.seconds and one.seconds > 0 for one in events if one.kind == "done")


def test_a_push_is_told_and_the_caches_own_pushes_are_not(tmp_path: Path) -> None:
    _, events = read(order(tmp_path), "cold")
    pushes = [one.text for one in events if one.kind == "push"]
    assert pushes[0] == f"Pushing image to {DESTINATION}"
    assert [text.partition("@")[0] for text in pushes[1:]] == ["Pushed 127.0.0.1:5000/play/two"]


@pytest.mark.parametrize("piece", [1, 7, 100])
def test_the_log_may_come_in_any_pieces(tmp_path: Path, piece: int) -> None:
    made = order(tmp_path)
    whole, small = read(made, "requirement")[0], read(made, "requirement", piece=piece)[0]
    assert list(small.last) == list(whole.last) != []
    assert outcomes(read(made, "cached", piece=piece)[1]) == HITS


def test_a_build_that_failed_leaves_its_step_open(tmp_path: Path) -> None:
    log, events = read(order(tmp_path, lines_with("echo one >", "exit 7 #")), "instruction", is_done=False)
    assert log.step == 2
    assert outcomes(events) == [(1, None)]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"level":"info","msg":"a \\u0026 b","time":"…"}', Line("a & b", "info")),
        ('50 % of it{"level":"warning","msg":"slow","time":"…"}', Line("slow", "warning")),
        ('{"level":"info","msg":"cut o', Line('{"level":"info","msg":"cut o')),
        ('{"level":"info"}', Line('{"level":"info"}')),
        ("\x1b[36mINFO\x1b[0m[0012] USER root          ", Line("USER root", "info")),
        ("INFO[0012] USER root", Line("USER root", "info")),
        ("\x1b[31mFATA\x1b[0m[0000] it is over ", Line("it is over", "fatal")),
        (r'time="2026-11-28T02:59:19Z" level=info msg="say \"a\""', Line('say "a"', "info")),
        (r'time="2026-11-28T02:59:19Z" level=info msg="odd \x1b"', Line(r"odd \x1b", "info")),
        ('time="2026-11-28T02:59:19Z" level=info msg=word', Line("word", "info")),
        ("Collecting six==1.16.0\r", Line("Collecting six==1.16.0")),
        ("", Line("")),
    ],
)
def test_a_line_of_any_form_is_read(text: str, line: Line) -> None:
    assert read_line(text) == line


def test_what_an_instruction_prints_begins_no_step(tmp_path: Path) -> None:
    made = order(tmp_path)
    events: list[Event] = []
    log = Log(made.plan.steps, made.destinations, events.append)
    log.feed(f"{MAKE}\n{INSTALL}\n\xff\xfe\n".encode("latin-1"))
    assert events == []
    assert list(log.last) == [MAKE, INSTALL, "��"]


def test_a_line_without_end_is_no_memory_without_end(tmp_path: Path) -> None:
    made = order(tmp_path)
    log = Log(made.plan.steps, made.destinations, lambda event: None)
    for _ in range(100):
        log.feed(b"x" * 100_000)
    log.end(is_done=False)
    assert {len(text) <= 64 * 1024 for text in log.last} == {True}
    assert len(log.last) <= 20


def failure(
    folder: Path,
    name: str,
    code: int = 1,
    *,
    lines: Sequence[str] = LINES,
    destination: str = DESTINATION,
    lacked_memory: bool = False,
) -> BuildError:
    made = order(folder, lines, destination)
    log, _ = read(made, name, is_done=False)
    return find_failure(Ended(code, lacked_memory=lacked_memory), log, made, Watch(Stops(), None))


def test_an_instruction_that_fails_is_named_with_its_own_exit_code(tmp_path: Path) -> None:
    found = failure(tmp_path, "instruction", 7, lines=lines_with("echo one >", "exit 7 #"))
    assert found.kind == "instruction"
    assert str(found).startswith("step 2 of 6 (instruction 1) failed with exit code 7: RUN echo")
    assert "hello you" in str(found)


def test_a_requirement_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    lines = lines_with('"-r", "/opt/nuwrap-image/requirements.txt"', '"six==99.0"')
    found = failure(tmp_path, "requirement", lines=lines)
    assert found.kind == "resolution"
    assert "requirement 'six==99.0' could not be had" in str(found)


def test_a_base_that_is_missing_is_the_step_that_failed(tmp_path: Path) -> None:
    found = failure(tmp_path, "missing-base", lines=lines_with("library/python", "library/nopython"))
    assert found.kind == "pull"
    assert str(found).startswith("step 1 of 6 (base) failed")
    assert "Retrying operation" not in str(found)


def test_an_image_to_copy_from_that_is_missing_is_the_step_that_failed(tmp_path: Path) -> None:
    copy = "COPY --from=127.0.0.1:5000/nuwrap/runtime:1 /opt/nuwrap /opt/nuwrap"
    found = failure(tmp_path, "missing-runtime", lines=[*LINES[:3], "# runtime", copy, *LINES[3:]])
    assert found.kind == "pull"
    assert str(found).startswith(f"step 2 of 7 (runtime) failed with exit code 1: {copy}")


@pytest.mark.parametrize(
    ("name", "port", "kind", "said"),
    [
        ("refused", 5001, "push", "look whether 127.0.0.1:5001 answers"),
        ("denied", 37019, "auth", "log in with `docker login 127.0.0.1:37019`, with an account that may push"),
        ("untrusted", 37019, "push", "set registries.certificates"),
    ],
)
def test_a_push_that_cannot_be_is_refused_before_the_build(
    tmp_path: Path, name: str, port: int, kind: str, said: str
) -> None:
    found = failure(tmp_path, name, destination=f"127.0.0.1:{port}/x/y:1")
    assert found.kind == kind
    assert str(found).startswith(f"127.0.0.1:{port}/")
    assert said in str(found)


def test_a_base_that_may_not_be_read_asks_for_a_log_in(tmp_path: Path) -> None:
    found = failure(tmp_path, "pull-denied", lines=[BASE.replace("5000/library/python:3.11-slim", "37019/x/y:1")])
    assert found.kind == "auth"
    assert "with an account that may pull there" in str(found)


def test_a_full_disk_is_told_as_one(tmp_path: Path) -> None:
    lines = lines_with("echo one > /opt/made/one", "dd if=/dev/zero of=/dev/full bs=1k count=1")
    assert failure(tmp_path, "disk", lines=lines).kind == "disk"


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("memory-executor", r"RUN head -c 400000000 /dev/urandom > /big"),
        ("memory-instruction", r'RUN python3 -c "x = bytearray(300000000); x[::100] = b\"1\" * 3000000"'),
    ],
)
def test_want_of_memory_is_told_with_what_makes_kaniko_need_less(tmp_path: Path, name: str, command: str) -> None:
    found = failure(tmp_path, name, 137, lines=[BASE, "# instruction 1", command], lacked_memory=True)
    assert found.kind == "memory"
    assert str(found).startswith("step 2 of 2 (instruction 1)")
    assert "--compressed-caching=false" in str(found)


def test_a_file_that_the_context_lacks_is_said_in_kanikos_words(tmp_path: Path) -> None:
    found = failure(tmp_path, "missing-file", lines=lines_with("COPY code", "COPY nocode"))
    assert found.kind == "engine"
    assert "context/nocode: no such file or directory" in str(found)


def test_a_fault_of_kaniko_itself_is_told_as_one(tmp_path: Path) -> None:
    made = order(tmp_path)
    log = Log(made.plan.steps, made.destinations, lambda event: None)
    log.feed(b"error building image: Assertion violated [mz1]: that cannot be\n")
    found = find_failure(Ended(1), log, made, Watch(Stops(), None))
    assert found.kind == "engine"
    assert "a fault of kaniko itself" in str(found)


def test_a_build_whose_time_is_over_says_so_and_where_it_was(tmp_path: Path) -> None:
    made = order(tmp_path, lines_with("echo one >", "exit 7 #"))
    log, _ = read(made, "memory-executor", is_done=False)
    found = find_failure(Ended(124), log, made, Watch(Stops(), 0.0))
    assert found.kind == "timeout"
    assert "step 1 of 6 (base)" in str(found)
