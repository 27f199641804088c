"""What a scrape of the service says, read by prometheus_client's own parser."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Optional

import pytest
from prometheus_client.parser import text_string_to_metric_families

from nuwrap_runtime.host.service.metrics import BUCKETS, REASONS, Metrics, PoolState, WorkerState, resident_bytes

DOCS = Path(__file__).parents[2] / "docs" / "service.md"
needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc here")


def scrape(metrics: Metrics, state: Optional[PoolState] = None) -> dict[str, float]:
    """Return `name{label=value,…}` → value of every sample."""
    found = {}
    for family in text_string_to_metric_families(metrics.render(state or PoolState()).decode("utf-8")):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sample.labels.items())
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


def counts(found: dict[str, float], name: str) -> list[float]:
    return [value for sample, value in found.items() if sample.startswith(f"{name}_bucket")]


def test_requests_are_counted_by_status() -> None:
    metrics = Metrics()
    for status in (200, 200, 504):
        metrics.observe(status, 0.1, 0.0)
    found = scrape(metrics)
    assert (found["nuwrap_requests_total{code=200}"], found["nuwrap_requests_total{code=504}"]) == (2, 1)


def test_a_time_falls_into_each_bucket_that_it_is_not_above() -> None:
    metrics = Metrics()
    for seconds in (0.0005, 0.00051, 3600.0):
        metrics.observe(200, seconds, 0.0)
    found = scrape(metrics)
    duration = counts(found, "nuwrap_request_duration_seconds")
    assert duration == [1.0] + [2.0] * (len(BUCKETS) - 1) + [3.0]
    assert found["nuwrap_request_duration_seconds_count"] == 3
    assert found["nuwrap_request_duration_seconds_sum"] == pytest.approx(3600.00101)


def test_the_wait_is_counted_apart_from_the_whole_time() -> None:
    metrics = Metrics()
    metrics.observe(200, 1.0, 0.3)
    found = scrape(metrics)
    assert (found["nuwrap_queue_wait_seconds_sum"], found["nuwrap_request_duration_seconds_sum"]) == (0.3, 1.0)
    assert found["nuwrap_queue_wait_seconds_bucket{le=0.25}"] == 0
    assert found["nuwrap_queue_wait_seconds_bucket{le=0.5}"] == 1


def test_each_reason_of_a_restart_is_there_before_the_first() -> None:
    metrics = Metrics()
    metrics.restart("timed_out")
    found = scrape(metrics)
    assert {one: found[f"nuwrap_worker_restarts_total{{reason={one}}}"] for one in REASONS} == {
        "crashed": 0,
        "timed_out": 1,
        "start_failed": 0,
    }


def test_answers_that_broke_off_are_counted_by_who_ended_them() -> None:
    metrics = Metrics()
    metrics.cut("client")
    found = scrape(metrics)
    assert (found["nuwrap_requests_cut_total{by=client}"], found["nuwrap_requests_cut_total{by=service}"]) == (1, 0)


def test_a_scrape_shows_the_moment() -> None:
    workers = (WorkerState(0, 0, "ready"), WorkerState(1, 0, "ready"), WorkerState(2, 0, "starting"))
    found = scrape(Metrics(), PoolState(in_flight=5, waiting=3, connections=9, workers=workers, is_ready=True))
    assert found["nuwrap_requests_in_flight"] == 5
    assert found["nuwrap_requests_waiting"] == 3
    assert found["nuwrap_connections"] == 9
    assert (found["nuwrap_workers{state=ready}"], found["nuwrap_workers{state=starting}"]) == (2, 1)
    assert found["nuwrap_ready"] == 1
    assert scrape(Metrics())["nuwrap_ready"] == 0


@needs_proc
def test_memory_is_that_of_the_processes_that_run() -> None:
    command = [sys.executable, "-c", "input(print('here', flush=True) or '')"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    state = PoolState(workers=(WorkerState(0, process.pid, "ready"), WorkerState(1, 0, "starting")))
    running = scrape(Metrics(), state)
    process.communicate(b"\n")
    ended = scrape(Metrics(), state)
    assert running["nuwrap_worker_resident_memory_bytes{worker=0}"] > 1_000_000
    assert running["nuwrap_host_resident_memory_bytes"] > 1_000_000
    assert [name for name in {**running, **ended} if "worker_resident" in name] == [
        "nuwrap_worker_resident_memory_bytes{worker=0}"
    ]
    assert "nuwrap_worker_resident_memory_bytes{worker=0}" not in ended


def test_a_process_that_is_not_there_has_no_memory() -> None:
    assert resident_bytes(0) is None


@pytest.mark.parametrize(
    "text", ['a"b', "a\nb", "a\\b", "ä", "{}"], ids=["quote", "line", "backslash", "umlaut", "brace"]
)
def test_a_label_is_read_as_it_was_written(text: str) -> None:
    assert f"nuwrap_info{{function={text}}}" in scrape(Metrics({"function": text}))


def test_half_a_character_in_a_name_does_not_end_the_scrape() -> None:
    assert "nuwrap_info{function=a?}" in scrape(Metrics({"function": "a\ud800"}))


def test_nothing_but_our_own_metrics_is_there_and_the_page_names_each() -> None:
    metrics = Metrics({"version": "1", "function": "f", "project": "p", "python": "3.11.7"})
    metrics.observe(200, 0.1, 0.0)
    text = metrics.render(PoolState()).decode()
    told = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    documented = set(re.findall(r"^\| `(nuwrap_\w+)", DOCS.read_text("utf-8"), re.MULTILINE))
    expected = documented if resident_bytes(os.getpid()) else {one for one in documented if "memory" not in one}
    assert told == expected


def test_the_library_is_imported_by_the_first_scrape_and_not_before() -> None:
    code = (
        "import sys; from nuwrap_runtime.host.service import admin, metrics\n"
        "one = metrics.Metrics(); one.observe(200, 1.0, 0.0); print('prometheus_client' in sys.modules)\n"
        "one.render(metrics.PoolState()); print('prometheus_client' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"]
