"""Addresses: what is pinned behind `#`, what a file is called, what messages may show."""

from __future__ import annotations

import pytest

from nuwrap_runtime.host.addresses import Address, file_name, parse_address, scheme_of, shown

DIGEST = "0123456789abcdef" * 4


def refusal(text: str, **options: tuple[str, ...]) -> str:
    with pytest.raises(ValueError) as caught:
        parse_address(text, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("https://h/f.py", Address("https://h/f.py")),
        ("HTTPS://H/F.py", Address("https://H/F.py")),
        ("S3://bucket/Key", Address("s3://bucket/Key")),
        (f"https://h/f.py#sha256={DIGEST}", Address("https://h/f.py", DIGEST)),
        ("https://h/a.zip#subdir=repo-main/jobs/", Address("https://h/a.zip", subdir="repo-main/jobs")),
        (f"https://h/a.zip#subdir=a%20%26%20b&sha256={DIGEST}", Address("https://h/a.zip", DIGEST, "a & b")),
        ("https://h/a.zip?x=1#subdir=a", Address("https://h/a.zip?x=1", subdir="a")),
        ("s3://b/notes#1.py", Address("s3://b/notes#1.py")),
        ("s3://b/notes#", Address("s3://b/notes#")),
        ("s3://b/a=1#b=2&c", Address("s3://b/a=1#b=2&c")),
        (f"s3://b/notes#1.py#sha256={DIGEST}", Address("s3://b/notes#1.py", DIGEST)),
    ],
)
def test_pins_are_cut_off(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("https://h/f.py#v1", ["'#v1' is not understood", "allowed: #sha256=…&subdir=…"]),
        ("https://h/f.py#sha265=" + DIGEST, ["'#sha265' is not understood", "did you mean 'sha256'?"]),
        ("https://h/f.py#", ["is not understood"]),
        (f"https://h/f.py#sha256={DIGEST}&x=1", ["'#x' is not understood"]),
        (f"s3://b/k#sha256={DIGEST}&x=1", ["'#x' is not understood"]),
        (f"https://h/f.py#sha256={DIGEST}&sha256={DIGEST}", ["twice"]),
        ("https://h/f.py#sha256=abc", ["'abc'", "64 hex digits"]),
        (f"https://h/f.py#sha256={DIGEST.upper()}", ["lower case"]),
        ("https://h/a.zip#subdir=/", ["subdir is empty"]),
    ],
)
def test_what_is_no_pin_is_refused(text: str, words: list[str]) -> None:
    told = refusal(text)
    assert [word for word in words if word not in told] == [], told


def test_pin_that_does_not_count_here_is_refused_by_name() -> None:
    assert "'#subdir' is for archives of code; allowed: #sha256=…" in refusal("s3://b/k#subdir=x", pins=("sha256",))
    assert "'#sha256' is for what is read; allowed: nothing" in refusal(f"s3://b/k#sha256={DIGEST}", pins=())


def test_half_of_a_password_is_not_quoted() -> None:
    assert "word" not in refusal("https://user:pass#word@host/f.py")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://h/a/fn.py", "fn.py"),
        ("https://h/a/f%20n.py?x=/y.py", "f n.py"),
        ("https://h/a/..%2Ffn.py", "fn.py"),
        ("https://h/a/", ""),
        ("https://h", ""),
        ("s3://b/a/f%20n.py", "f%20n.py"),
        ("s3://b/a/what?.py", "what?.py"),
    ],
)
def test_file_has_the_last_name_of_its_path(url: str, name: str) -> None:
    assert file_name(url) == name


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("https://u:secret@h/f.py", "https://***@h/f.py"),
        ("https://h/f.py?X-Amz-Signature=abc&X-Amz-Date=2026", "https://h/f.py?X-Amz-Signature=***&X-Amz-Date=2026"),
        ("https://h/f.py?sv=1&sig=a%2Bb", "https://h/f.py?sv=1&sig=***"),
        ("https://h/f.py?code=" + "x" * 40, "https://h/f.py?code=***"),
        ("https://h/f.py#access_token=abcdef", "https://h/f.py#access_token=***"),
        (f"https://h/f.py?page=2#sha256={DIGEST}", f"https://h/f.py?page=2#sha256={DIGEST}"),
        ("https://h/a.zip#subdir=a-folder-with-a-long-name", "https://h/a.zip#subdir=a-folder-with-a-long-name"),
        ("git+https://h/o/r.git#feature/x", "git+https://h/o/r.git#feature/x"),
        ("s3://bucket/key", "s3://bucket/key"),
    ],
)
def test_secrets_are_not_shown(address: str, told: str) -> None:
    assert shown(address) == told


def test_scheme_is_in_lower_case() -> None:
    assert [scheme_of(text) for text in ("S3://b/k", "zip+HTTPS://h", "fn.py")] == ["s3", "zip+https", "fn.py"]
