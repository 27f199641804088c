"""Names of images, as Docker reads them."""

from __future__ import annotations

import pytest

from nuwrap.errors import SpecError
from nuwrap.spec.reference import Reference, parse_reference

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest"),
    [
        ("python", "docker.io", "library/python", "", ""),
        ("python:3.10-slim", "docker.io", "library/python", "3.10-slim", ""),
        ("team/fn", "docker.io", "team/fn", "", ""),
        ("docker.io/python:3", "docker.io", "library/python", "3", ""),
        ("index.docker.io/team/fn", "docker.io", "team/fn", "", ""),
        (f"python@{DIGEST}", "docker.io", "library/python", "", DIGEST),
        (f"host:5000/a/b:tag@{DIGEST}", "host:5000", "a/b", "tag", DIGEST),
        ("registry:5000/team/fn:1", "registry:5000", "team/fn", "1", ""),
        ("localhost/fn", "localhost", "fn", "", ""),
        ("ghcr.io/o/r/deep/er", "ghcr.io", "o/r/deep/er", "", ""),
        ("Registry/fn", "Registry", "fn", "", ""),
        ("[::1]:5000/fn:x", "[::1]:5000", "fn", "x", ""),
        ("a__b/c.d-e--f:_T.x", "docker.io", "a__b/c.d-e--f", "_T.x", ""),
    ],
)
def test_a_name_is_read_as_docker_reads_it(text: str, registry: str, repository: str, tag: str, digest: str) -> None:
    assert parse_reference(text) == Reference(registry, repository, tag, digest)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no name before its tag"),
        (":1", "no name before its tag"),
        ("Python", "write 'python'"),
        ("team/Fn:1", "write 'fn'"),
        ("python:", "tag ''"),
        ("python:-x", "tag '-x'"),
        ("python:" + "x" * 129, "1 to 128"),
        ("python@sha256:abc", "digest 'sha256:abc'"),
        ("python@", "digest ''"),
        ("0123456789abcdef" * 4, "an image's id"),
        ("host:5000//fn", "empty part"),
        ("team/fn/", "empty part"),
        ("/fn", "empty part"),
        ("https://host/fn", "leave https:// out"),
        ("host:99999/fn", "registry 'host:99999'"),
        ("-host.x/fn", "registry '-host.x'"),
        ("a___b", "part 'a___b'"),
        ("python:3\nUSER root", "tag"),
        ("py thon", "part 'py thon'"),
        ("a/" * 130 + "b", "longer than 255"),
    ],
)
def test_what_docker_refuses_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_reference(text)
    assert why in str(caught.value)
    assert "the form is" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "whole", "familiar"),
    [
        ("python:3.10-slim", "docker.io/library/python:3.10-slim", "python:3.10-slim"),
        ("library/python", "docker.io/library/python", "python"),
        ("team/fn:1", "docker.io/team/fn:1", "team/fn:1"),
        (f"h:1/a:t@{DIGEST}", f"h:1/a:t@{DIGEST}", f"h:1/a:t@{DIGEST}"),
        ("docker.io/a.b/c", "docker.io/a.b/c", "docker.io/a.b/c"),
        ("docker.io/library/a.b/c", "docker.io/library/a.b/c", "library/a.b/c"),
    ],
)
def test_a_reference_has_a_whole_and_a_familiar_text(text: str, whole: str, familiar: str) -> None:
    reference = parse_reference(text)
    assert (str(reference), reference.familiar) == (whole, familiar)
    assert parse_reference(whole) == parse_reference(familiar) == reference


def test_a_pinned_reference_has_no_tag() -> None:
    assert str(parse_reference("python:3").pin(DIGEST)) == f"docker.io/library/python@{DIGEST}"


@pytest.mark.parametrize(
    ("text", "version"), [("a", "latest"), ("a:1", "1"), (f"a:1@{DIGEST}", DIGEST)], ids=["none", "tag", "digest"]
)
def test_a_digest_counts_before_a_tag(text: str, version: str) -> None:
    assert parse_reference(text).version == version
