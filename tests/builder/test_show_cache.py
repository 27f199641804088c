"""`nuwrap cache`: what the host tells of its cache, as a person sees it. A real host."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from command_line import Nuwrap

from nuwrap.cli.show import size_text
from nuwrap_runtime.host.source_cache import key, open_cache
from nuwrap_runtime.host.tree import ensure_tree


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that has the host's own tree, which stays whatever is cleaned here."""
    folder = tmp_path_factory.mktemp("cache")
    ensure_tree({**os.environ, "NUWRAP_CACHE": str(folder)})
    return folder


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where hosts that other tests have killed left nothing that is to be cleaned."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))


@pytest.fixture
def source(cache: Path, tmp_path: Path) -> Path:
    """A source that was last used two days ago."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "main.py").write_text("#" * 2_000_000)
    facts = {"address": "git+https://host/[red]repo\x1b[1m", "revision": "abc"}
    open_cache(str(cache / "sources")).keep(key("a"), str(tree), facts)
    entry = cache / "sources" / key("a")
    os.utime(entry / "facts.json", (time.time() - 2 * 86_400,) * 2)
    return entry


def test_the_list_is_a_table_and_a_sum(run_nuwrap: Nuwrap, cache: Path, source: Path) -> None:
    done = run_nuwrap("cache", "ls", NUWRAP_CACHE=str(cache))
    lines = done.stdout.splitlines()
    assert (done.returncode, lines[0].split()) == (0, ["kind", "key", "what", "last", "used", "size"])
    (row,) = (line for line in lines if line.startswith("source"))
    assert source.name[:12] in row
    assert "git+https://host/[red]repo\\x1b[1m at abc" in row
    assert row.endswith("2.0 MB")
    assert [line for line in lines if line.startswith("nuwrap") and "in use" in line]
    assert lines[-1].endswith(f"MB in {cache}")


def test_json_is_the_hosts_own_answer(run_nuwrap: Nuwrap, cache: Path, source: Path) -> None:
    listed = json.loads(run_nuwrap("cache", "ls", "--json", NUWRAP_CACHE=str(cache)).stdout)
    assert [one["key"] for one in listed["sources"]] == [source.name]
    told = json.loads(run_nuwrap("cache", "clean", "--all", "--dry-run", "--json", NUWRAP_CACHE=str(cache)).stdout)
    assert (told["dry_run"], [one["key"] for one in told["removed"]]) == (True, [source.name])


def test_cleaning_says_what_it_freed(run_nuwrap: Nuwrap, cache: Path, source: Path) -> None:
    def last_line(*flags: str) -> str:
        return run_nuwrap("cache", "clean", *flags, NUWRAP_CACHE=str(cache)).stdout.splitlines()[-1]

    assert last_line() == f"freed 0 B, 0 things, in {cache}"
    assert last_line("--older-than", "1.5", "--dry-run") == f"would free 2.0 MB, 1 thing, in {cache}"
    assert source.exists()
    assert last_line("--older-than", "1.5") == f"freed 2.0 MB, 1 thing, in {cache}"
    assert not source.exists()


def test_what_the_host_refuses_is_its_message_and_exit_code(run_nuwrap: Nuwrap, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "file").touch()
    done = run_nuwrap("cache", "ls", NUWRAP_CACHE=str(tmp_path / "file" / "cache"))
    assert (done.returncode, done.stdout) == (10, "")
    assert "cannot make the cache folder" in done.stderr
    done = run_nuwrap("cache", "clean", "--older-than", "nan", NUWRAP_CACHE=str(cache))
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (37_700_000, "37.7 MB"), (5e12, "5000.0 GB")]
)
def test_a_size_is_for_a_person(count: float, text: str) -> None:
    assert size_text(count) == text
