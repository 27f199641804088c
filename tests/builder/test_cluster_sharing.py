"""What many runs follow together of a namespace."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from waiting import until

from nuwrap.cluster.client import ClusterError
from nuwrap.cluster.sharing import FEW, Namespace

BY = "nuwrap.dev/run"


class Scripted:
    """A cluster that tells of pods as it is given them, and whose events may not be had."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.asked = 0
        self.may_answer = threading.Event()

    def watch(self, kind: str, **_: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        assert kind == "Pod"
        at = 0
        while True:
            while len(self.told) <= at:
                time.sleep(0.05)
            yield self.told[at]
            at += 1

    def list(self, kind: str) -> list[dict[str, Any]]:
        assert kind == "Event"
        self.asked += 1
        assert self.may_answer.wait(60)
        raise ClusterError("no answer")


def pod(run: str) -> dict[str, Any]:
    return {"metadata": {"name": f"pod-{run}", "labels": {BY: run}}}


def test_news_come_while_the_events_are_waited_for_and_one_refusal_counts_for_all() -> None:
    cluster = Scripted()
    shared, heard, ends = Namespace(cluster, BY), [], []  # type: ignore[arg-type, var-annotated]
    runs = [f"r{number}" for number in range(FEW + 1)]
    for run in runs:
        shared.listen(cluster, run, heard.append)  # type: ignore[arg-type]

    def ask() -> None:
        try:
            ends.append(shared.events(["a"]))
        except ClusterError as exc:
            ends.append(str(exc))

    threads = [threading.Thread(target=ask) for _ in runs]
    for thread in threads:
        thread.start()
    until(lambda: cluster.asked)
    cluster.told.append(("ADDED", pod("r1")))
    until(lambda: heard == [("ADDED", pod("r1"))])
    cluster.may_answer.set()
    for thread in threads:
        thread.join(60)
    assert sorted(map(str, ends)) == sorted([*["[]"] * FEW, "no answer"])
    assert cluster.asked == 1


@pytest.mark.parametrize("count", [1, FEW])
def test_few_ask_for_their_own_events(count: int) -> None:
    cluster = Scripted()
    shared = Namespace(cluster, BY)  # type: ignore[arg-type]
    for run in range(count):
        shared.listen(cluster, str(run), lambda _news: None)  # type: ignore[arg-type]
    assert (shared.events(["a"]), cluster.asked) == (None, 0)


def test_who_comes_later_hears_of_the_pods_that_there_are_and_who_left_of_none() -> None:
    cluster = Scripted()
    shared, first, later = Namespace(cluster, BY), [], []  # type: ignore[arg-type, var-annotated]
    shared.listen(cluster, "a", first.append)  # type: ignore[arg-type]
    cluster.told += [("ADDED", pod("a")), ("ADDED", pod("b"))]
    until(lambda: first)
    shared.leave("a", first.append)
    shared.listen(cluster, "b", later.append)  # type: ignore[arg-type]
    until(lambda: later == [("ADDED", pod("b"))])
    cluster.told += [("DELETED", pod("a")), ("DELETED", pod("b"))]
    until(lambda: later[1:] == [("DELETED", pod("b"))])
    assert first == [("ADDED", pod("a"))]
