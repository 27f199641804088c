"""Addresses in a claim of a cluster: what is one, who may have one, what goes there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nuwrap.builds.delivering import deliver
from nuwrap.errors import PlatformError, SpecError, UsageError
from nuwrap.spec.claims import InClaim, parse_claim, refuse_claims
from nuwrap.store.config import read_config, write_config
from nuwrap_runtime.launch import parse_launch

KEY = "store://p/artifact/artifact/a:1"
CODE = "def main(a): pass\n"


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("pvc://team", InClaim("team")),
        ("pvc://team/", InClaim("team")),
        ("pvc://team.x-1/a/b c/", InClaim("team.x-1", "a/b c")),
    ],
)
def test_an_address_has_a_claim_and_a_path(address: str, found: InClaim) -> None:
    assert parse_claim(address) == found


@pytest.mark.parametrize(
    "address",
    ["s3://team", "pvc://", "pvc:///a", "pvc://Team", "pvc://-a", "pvc://a..b", "pvc://a/../b", "pvc://a/./b",
     "pvc://a//b", "pvc://a/..", "pvc://..", "pvc://a/b\n", "pvc://a/\0"],
)  # fmt: skip
def test_what_leads_out_of_a_claim_or_names_none_is_refused(address: str) -> None:
    with pytest.raises(SpecError, match="no place in a claim; allowed: pvc://CLAIM or"):
        parse_claim(address)


def test_the_store_may_be_a_claim(tmp_path: Path) -> None:
    write_config(str(tmp_path), "artifacts_store", "pvc://team/runs")
    assert read_config(str(tmp_path)).values["artifacts_store"] == "pvc://team/runs"
    with pytest.raises(UsageError, match=r"artifacts_store: 'pvc://team/\.\./x' is not allowed.*pvc://CLAIM"):
        write_config(str(tmp_path), "artifacts_store", "pvc://team/../x")


def launch(path: str, output_path: str = "") -> dict[str, object]:
    found = {"output_path": output_path} if output_path else {}
    return {
        **found, "api": "nuwrap/v1", "mode": "job", "project": "p", "function": "fn", "run": "r", "handler": "main",
        "code_src": "fn.py", "inputs": {"a": KEY}, "entities": {KEY: {"kind": "artifact", "path": path}},
    }  # fmt: skip


def test_a_platform_without_claims_names_what_lies_in_one() -> None:
    with pytest.raises(UsageError, match=r"input 'a': 'pvc://team/x' .* platform 'docker' does not reach"):
        refuse_claims(parse_launch(launch("pvc://team/x")), "docker")
    with pytest.raises(UsageError, match="output_path: 'pvc://team/x'"):
        refuse_claims(parse_launch(launch("s3://b/x", "pvc://team/x")), "local")
    refuse_claims(parse_launch(launch("s3://b/x", "s3://b/y")), "local")


@pytest.mark.parametrize("path", ["pvc://team/x", "http://127.0.0.1:9/x"])
def test_inputs_that_lie_elsewhere_are_not_fetched_to_this_machine(tmp_path: Path, path: str) -> None:
    (tmp_path / "fn.py").write_text(CODE)
    work = tmp_path / "work"
    work.mkdir()
    given = deliver(parse_launch(launch(path)), str(tmp_path), str(work), os.environ)
    assert list(given.files) == ["code.zip"]
    assert given.launch.entities[KEY]["path"] == path


def test_what_is_too_much_for_a_run_goes_to_no_claim(tmp_path: Path) -> None:
    (tmp_path / "fn.py").write_text(CODE)
    (tmp_path / "big").write_bytes(b"x" * 800_000)
    work = tmp_path / "work"
    work.mkdir()
    plain = parse_launch(launch(str(tmp_path / "big")))
    with pytest.raises(PlatformError, match=r"716800 bytes.*'pvc://team' is a claim, which takes outputs alone.*s3://"):
        deliver(plain, str(tmp_path), str(work), os.environ, store="pvc://team")
