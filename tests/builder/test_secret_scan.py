"""A secret's value found in what an image tells of itself, in whatever form it was put there."""

from __future__ import annotations

import base64
from dataclasses import replace
from urllib.parse import quote, quote_plus

import pytest

from nuwrap.engines.secret_scan import find_secrets
from nuwrap.spec.build import ImageFacts

VALUE = "pa$$ word/+&é"
CLEAN = ImageFacts("x:1", "x:1", "sha256:0", env={"PATH": "/bin"}, labels={"a": "b"}, history=["RUN true"])


@pytest.mark.parametrize(
    ("facts", "place"),
    [
        (replace(CLEAN, env={"TOKEN": f"x{VALUE}y"}), "environment variable TOKEN"),
        (replace(CLEAN, labels={"a.b": VALUE}), "label a.b"),
        (replace(CLEAN, history=["RUN true", f"RUN |1 T={VALUE} /bin/sh -c true"]), "history, line 2 of 2 (RUN)"),
        (replace(CLEAN, history=[f"/bin/sh -c #(nop) ENV T={VALUE}"]), "history, line 1 of 1 (ENV)"),
        (replace(CLEAN, history=[VALUE]), "history, line 1 of 1 (RUN)"),
        (replace(CLEAN, entrypoint=["a", VALUE]), "entry point"),
        (replace(CLEAN, command=["a", VALUE]), "command"),
        (replace(CLEAN, user=VALUE), "user"),
    ],
)
def test_the_place_is_told_and_the_value_is_not(facts: ImageFacts, place: str) -> None:
    assert find_secrets(facts, {"TOKEN": VALUE}) == [f"secret 'TOKEN' in {place}"]


@pytest.mark.parametrize("before", ["", "u", "us", "user:"])
@pytest.mark.parametrize("after", ["", "\n", "/x", ", more"])
def test_base64_of_a_text_that_has_the_value_is_found(before: str, after: str) -> None:
    data = f"{before}{VALUE}{after}".encode()
    for coded in (base64.b64encode(data), base64.urlsafe_b64encode(data), base64.b64encode(data).rstrip(b"=")):
        assert find_secrets(replace(CLEAN, env={"A": f"Basic {coded.decode()}"}), {"TOKEN": VALUE})


@pytest.mark.parametrize("text", [quote(VALUE), quote(VALUE, safe=""), quote_plus(VALUE)])
def test_a_value_of_an_address_is_found(text: str) -> None:
    assert find_secrets(replace(CLEAN, history=[f"RUN git clone https://u:{text}@host/x"]), {"TOKEN": VALUE})


def test_a_long_line_of_a_value_of_several_lines_is_found() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nab\n-----END KEY-----\n"
    assert find_secrets(replace(CLEAN, env={"A": "x MIIEvQIBADANBg x"}), {"KEY": key})
    assert find_secrets(replace(CLEAN, env={"A": "ab"}), {"KEY": key}) == []


def test_what_has_no_value_is_clean() -> None:
    assert find_secrets(CLEAN, {"TOKEN": VALUE}) == []


def test_a_short_value_is_not_looked_for() -> None:
    assert find_secrets(replace(CLEAN, env={"A": "true"}), {"FLAG": "true", "NONE": "", "ONE": "\n"}) == []


def test_bytes_that_are_no_text_are_no_failure() -> None:
    value = b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\xf7".decode("utf-8", "surrogateescape")
    assert find_secrets(CLEAN, {"RAW": value}) == []
    coded = base64.b64encode(value.encode("utf-8", "surrogateescape")).decode()
    assert find_secrets(replace(CLEAN, env={"A": coded}), {"RAW": value})
