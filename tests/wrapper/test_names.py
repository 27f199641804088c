"""Names from an archive or a listing: what path they become, and which are refused."""

from __future__ import annotations

import os

import pytest
from hostile_archives import NAMES, PAIRS

from nuwrap_runtime.host.names import Names
from nuwrap_runtime.host.sources import DEPTH


def names(max_files: int = 1000) -> Names:
    return Names(max_files)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a", "a"),
        ("./a", "a"),
        ("a//b/./c", "a/b/c"),
        ("a/", "a"),
        (".hidden", ".hidden"),
        ("...", "..."),
        ("a b/größe/日本.py", "a b/größe/日本.py"),
        ("ab:c", "ab:c"),
        ("x" * 255, "x" * 255),
        ("ü" * 127, "ü" * 127),
        ("/".join(["x" * 200] * 15), "/".join(["x" * 200] * 15)),
        ("d/" * DEPTH + "f", "d/" * DEPTH + "f"),
    ],
)
def test_a_name_becomes_a_relative_path(name: str, path: str) -> None:
    assert names().take(name, "file") == path.replace("/", os.sep)


@pytest.mark.parametrize(("name", "words"), [case[1:] for case in NAMES], ids=[case[0] for case in NAMES])
@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_name_that_could_leave_or_harm_is_refused(name: str, words: str, kind: str) -> None:
    with pytest.raises(ValueError, match=words):
        names().take(name, kind)


@pytest.mark.parametrize(("first", "second", "words"), [case[1:] for case in PAIRS], ids=[case[0] for case in PAIRS])
def test_two_names_that_meet_are_refused(first: str, second: str, words: str) -> None:
    taken = names()
    taken.take(first, "file")
    with pytest.raises(ValueError, match=words):
        taken.take(second, "file")


@pytest.mark.parametrize("name", ["", "\0"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"a name is empty|control"):
        names().take(name, "folder")


def test_the_folder_itself_is_nothing() -> None:
    taken = names()
    assert [taken.take(name, "folder") for name in ("./", ".", ".//.")] == ["", "", ""]
    with pytest.raises(ValueError, match="that of the folder itself"):
        taken.take("./", "file")


def test_a_folder_may_come_twice_and_after_what_is_in_it() -> None:
    taken = names()
    assert [taken.take(name, "folder") for name in ("a", "a/", "./a")] == ["a", "a", "a"]
    taken.take("b/c/d", "file")
    assert taken.take("b/c", "folder") == os.path.join("b", "c")


@pytest.mark.parametrize("kind", ["file", "link"])
def test_nothing_lies_below_a_file_or_a_link_nor_replaces_it(kind: str) -> None:
    taken = names()
    taken.take("a/b", kind)
    for name, other in (("a/b/c", "file"), ("a/b/c", "folder")):
        with pytest.raises(ValueError, match="'a/b/c' lies below 'a/b', which is no folder"):
            taken.take(name, other)
    for other in ("file", "link", "folder"):
        with pytest.raises(ValueError, match="'a/b' comes twice"):
            taken.take("a/b", other)


@pytest.mark.parametrize(
    ("first", "second"),
    [("STRASSE", "straße"), ("K", "\u212a"), ("Å", "\u212b"), ("a/É/x", "A/e\u0301/y"), ("①", "1")],
)
def test_folders_and_files_meet_whatever_their_spelling(first: str, second: str) -> None:
    for before, after in ((first, second), (second, first)):
        for kind in ("file", "folder"):
            taken = names()
            taken.take(before, kind)
            with pytest.raises(ValueError, match="differ by case or Unicode form only"):
                taken.take(after, "folder")


@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_names_have_a_number(kind: str) -> None:
    taken = names(max_files=3)
    for number in range(3):
        taken.take(str(number), kind)
    with pytest.raises(ValueError, match=r"more than 3 (files|folders), .*\(limits\.files\)"):
        taken.take("last", kind)


def test_folders_that_are_only_named_in_paths_have_a_number_too() -> None:
    with pytest.raises(ValueError, match=r"more than 3 folders, .*\(limits\.files\)"):
        names(max_files=3).take("a/b/c/d/e", "file")


def test_a_long_name_is_cut_in_the_message() -> None:
    with pytest.raises(ValueError, match="…") as caught:
        names().take("x" * 100_000, "file")
    assert len(str(caught.value)) < 300
