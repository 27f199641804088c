"""A container's log: each line once, and where lines may be missing is said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import pytest

from nuwrap.cluster.client import Cluster
from nuwrap.cluster.log_gaps import TURN_BYTES, LogGaps
from nuwrap.cluster.log_lines import LINE_BYTES, LogLines


class Kubelet:
    """Answers a log's requests in turn, each with one of these texts, then with the last one again."""

    def __init__(self, *texts: bytes) -> None:
        self._texts = list(texts)
        self.asked: list[str] = []

    @contextmanager
    def log(self, _pod: str, *, since: str, **_: Any) -> Iterator[Iterator[bytes]]:
        self.asked.append(since)
        text = self._texts.pop(0) if len(self._texts) > 1 else self._texts[0]
        yield iter([text] if text else [])


def lines(*seconds: int, word: str = "line") -> bytes:
    return "".join(f"2026-01-01T00:00:{second:02}.5Z {word} {second}\n" for second in seconds).encode()


def read(kubelet: Kubelet, **given: Any) -> list[str]:
    found: list[bytes] = []
    LogLines(cast("Cluster", kubelet), "pod", "main", **given).read(found.extend)
    return [text.decode().partition(":")[0] for text in found]


def test_what_came_after_the_file_that_was_read_comes_too_with_the_gap_before_it() -> None:
    kubelet = Kubelet(lines(1, 2), lines(5, 6))
    assert read(kubelet) == ["line 1", "line 2", "nuwrap  lines may be missing here", "line 5", "line 6"]
    assert kubelet.asked == ["", "2026-01-01T00:00:02.5Z", "2026-01-01T00:00:06.5Z"]


@pytest.mark.parametrize("more", [(1, 2), (2,), (2, 3)])
def test_a_log_that_still_has_its_last_line_has_no_gap(more: Sequence[int]) -> None:
    assert read(Kubelet(lines(1, 2), lines(*more))) == [f"line {one}" for one in sorted({1, 2, *more})]


@pytest.mark.parametrize("cut", [b"", b"2026-01-01T00:00:03Z line"])
def test_a_log_that_was_turned_over_at_its_end_may_lack_lines(cut: bytes) -> None:
    found = read(Kubelet(lines(1, 2) + cut, b""))
    assert found == ["line 1", "line 2", *(["line"] if cut else []), "nuwrap  lines may be missing here"]


# What the kubelet gives where containerd has turned a log over within a line, with the moments that it gives them.
CUT = b"2026-01-01T00:00:03.944947064Z line"
NEXT_FILE = b"2026-01-01T00:00:03.944501018Z  3\n2026-01-01T00:00:03.944530663Z line 4\n"


def test_a_line_that_goes_on_in_the_next_file_is_one() -> None:
    assert read(Kubelet(lines(2) + CUT, NEXT_FILE)) == ["line 2", "line 3", "line 4"]


def test_an_end_of_a_line_that_is_in_the_next_file_is_no_line() -> None:
    at = b"2026-01-01T00:00:02.7Z "
    assert read(Kubelet(lines(1) + at + b"line 2", at + b"\n" + lines(3))) == ["line 1", "line 2", "line 3"]


def test_a_line_that_has_come_in_part_is_had_again_from_the_same_file() -> None:
    assert read(Kubelet(lines(2) + CUT, lines(2) + CUT + b" 3\n" + lines(4))) == ["line 2", "line 3", "line 4"]


def test_a_line_that_came_in_part_stays_one_where_what_follows_is_gone() -> None:
    found = read(Kubelet(lines(2) + CUT, lines(15)))
    assert found == ["line 2", "line", "nuwrap  lines may be missing here", "line 15"]


@pytest.mark.parametrize("runs_once", [True, False])
def test_a_last_line_without_an_end_comes_once(runs_once: bool) -> None:
    kubelet = Kubelet(lines(2) + CUT, lines(2) + CUT, lines(2) + CUT)
    assert read(kubelet, runs_once=runs_once) == ["line 2", "line"]
    assert read(Kubelet(CUT), runs_once=runs_once) == ["line"]


def test_lines_that_are_not_counted_come_once_to_each_reader() -> None:
    texts = lines(1) + lines(2, word="result"), lines(1) + lines(2, word="result") + lines(3)
    given = {"is_counted": lambda text: not text.startswith(b"result")}
    assert read(Kubelet(*texts), **given) == ["line 1", "result 2", "line 3"]
    again = read(Kubelet(*texts), last="2026-01-01T00:00:01.5Z", count=1, **given)
    assert again == ["result 2", "line 3"]


def test_a_container_that_may_be_started_again_is_read_to_its_end_alone() -> None:
    assert read(Kubelet(lines(1), lines(5)), runs_once=False) == ["line 1"]
    started_again = read(Kubelet(lines(5)), last="2026-01-01T00:00:01.5Z", count=1, runs_once=False)
    assert started_again == ["line 5"]


def test_what_the_kubelet_says_where_it_has_no_log_is_no_line_of_one() -> None:
    assert read(Kubelet(b"unable to retrieve container logs")) == ["nuwrap  no log"]
    kubelet = Kubelet(lines(1), b"unable to retrieve container logs")
    assert read(kubelet) == ["line 1"]
    assert kubelet.asked[1:] == ["2026-01-01T00:00:01.5Z"]


def test_a_line_that_is_too_long_comes_in_parts_once() -> None:
    long = b"2026-01-01T00:00:01.5Z " + b"x" * LINE_BYTES

    class InPieces(Kubelet):
        @contextmanager
        def log(self, _pod: str, *, since: str, **_: Any) -> Iterator[Iterator[bytes]]:
            self.asked.append(since)
            yield iter([long, b"rest of it\n" + lines(2)])

    kubelet = InPieces()
    assert read(kubelet) == ["x" * LINE_BYTES, "rest of it", "line 2"]
    assert len(kubelet.asked) == 2


@pytest.mark.parametrize(
    ("size", "printed", "heard", "has_gap"),
    [
        (TURN_BYTES, (0, 1, 2, 9), (100, 101, 112, 112), True),
        (TURN_BYTES, (0, 1, 2, 9), (101, 102, 106, 110), True),
        (TURN_BYTES, (0, 1, 2, 42), (100, 101, 108, 142), True),
        (TURN_BYTES, (0, 1, 2, 9), (100, 101, 102, 109), False),
        (TURN_BYTES, (0, 1, 2, 3), (100, 101, 112, 112), False),
        (10, (0, 1, 2, 9), (100, 101, 112, 112), False),
    ],
    ids=[
        "read late, and jumped",
        "always read late, and jumped",
        "read late, and nothing for long",
        "a pause",
        "read late",
        "too short to be turned over",
    ],
)
def test_a_jump_of_a_log_that_is_read_late_may_be_a_gap(
    size: int, printed: Sequence[int], heard: Sequence[float], has_gap: bool
) -> None:
    clock = iter(heard)
    gaps = LogGaps(lambda: next(clock))
    found = [gaps.is_before(f"2026-01-01T00:00:{second:02}.5Z", size) for second in printed]
    assert found == [False, False, False, has_gap]
