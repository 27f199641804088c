"""Code from a path on this machine: what is delivered, under which name, and what never is."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from nuwrap_runtime.errors import SourceError
from nuwrap_runtime.host.addresses import shown
from nuwrap_runtime.host.sources import FETCHERS, Checkout, fetch, parse_source
from nuwrap_runtime.host.workspace import remove_tree
from nuwrap_runtime.launch import Launch, Limits

CODE = b"def f(): return 7\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the function's file, which is the working directory."""
    folder = tmp_path.resolve() / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def deliver(code_src: str, into: Path, **options: Any) -> Checkout:
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir()
    return fetch(parse_source(Launch(handler="f", code_src=code_src, **options)), str(into), {})


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or path.is_file())


def put(path: Path, content: bytes = CODE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("code_src", "delivered", "module"),
    [
        ("fn.py", "fn.py", "fn"),
        ("./fn.py", "fn.py", "fn"),
        ("src/fn.py", "src/fn.py", "src.fn"),
        ("src//./fn.py", "src/fn.py", "src.fn"),
        ("src/my-fn.py", "src/my-fn.py", "src.my-fn"),
        ("größe/fn.py", "größe/fn.py", "größe.fn"),
        ("a b/f n.py", "a b/f n.py", "a b.f n"),
    ],
)
def test_a_file_is_delivered_alone_under_its_relative_path(
    here: Path, tmp_path: Path, code_src: str, delivered: str, module: str
) -> None:
    put(here / delivered)
    put(here / os.path.dirname(delivered) / "sibling.py")
    checkout = deliver(code_src, tmp_path / "into")
    assert names(tmp_path / "into") == [delivered]
    assert checkout == Checkout(str(tmp_path / "into"), f"sha256:{hashlib.sha256(CODE).hexdigest()}", module)


def test_a_file_at_an_absolute_path_is_delivered_under_its_name(here: Path, tmp_path: Path) -> None:
    assert deliver(str(put(here / "src" / "fn.py")), tmp_path / "into").default_module == "fn"
    assert names(tmp_path / "into") == ["fn.py"]


@pytest.mark.parametrize("code_src", ["../fn.py", "a/../../fn.py", "..", "a/..", "{abs}/../fn.py", "./../fn.py"])
def test_a_way_up_is_refused_and_nothing_is_written(here: Path, tmp_path: Path, code_src: str) -> None:
    put(tmp_path / "fn.py")
    with pytest.raises(SourceError, match=r"'\.\.' is refused"):
        deliver(code_src.format(abs=here), tmp_path / "into")
    assert names(tmp_path / "into") == []


@pytest.mark.parametrize("name", ["my.fn.py", "v1.2/fn.py", ".hidden/fn.py", ".py", "src/.py"])
def test_a_name_that_is_no_module_is_refused(here: Path, tmp_path: Path, name: str) -> None:
    put(here / name)
    with pytest.raises(SourceError, match="cannot be a module"):
        deliver(name, tmp_path / "into")


@pytest.mark.parametrize(
    ("code_src", "said"),
    [
        ("nowhere.py", "'nowhere.py' does not exist in '.*/project'"),
        ("/nowhere/fn.py", "does not exist in '/nowhere'"),
        ("data.csv", "neither a .py file, a folder nor an archive"),
        ("pipe.py", "neither a .py file, a folder nor an archive"),
        ("git@host:owner/repo.git", "write 'git\\+ssh://git@host/owner/repo.git'"),
        ("-x", "'-x' does not exist"),
    ],
)
def test_what_is_no_code_is_refused(here: Path, tmp_path: Path, code_src: str, said: str) -> None:
    put(here / "data.csv")
    os.mkfifo(here / "pipe.py")
    with pytest.raises(SourceError, match=said):
        deliver(code_src, tmp_path / "into")


def test_a_folder_is_copied_without_what_tools_leave_in_it(here: Path, tmp_path: Path) -> None:
    wanted = ["helper.py", "pkg/__init__.py", "pkg/data.json", "pkg/m.py"]
    left = [
        ".git/config",
        "pkg/__pycache__/m.cpython-311.pyc",
        "old.pyc",
        "venv/pyvenv.cfg",
        "venv/lib/x.py",
        ".nuwrap/a",
    ]
    for name in (*wanted, *left):
        put(here / name)
    (here / "venv" / "python").symlink_to("/usr/bin/python3")
    assert deliver(".", tmp_path / "into").default_module == "main"
    assert names(tmp_path / "into") == wanted


def test_a_work_folder_below_the_code_is_not_copied_into_itself(here: Path) -> None:
    put(here / "main.py")
    into = here / "work" / "source"
    into.parent.mkdir()
    deliver(".", into)
    assert names(into) == ["main.py"]


def test_links_inside_are_kept_as_links(here: Path, tmp_path: Path) -> None:
    put(here / "pkg" / "m.py")
    (here / "alias.py").symlink_to("pkg/m.py")
    (here / "pkg" / "up").symlink_to("..")
    (here / "dangling").symlink_to("not-there")
    deliver(str(here), tmp_path / "into")
    assert os.readlink(tmp_path / "into" / "alias.py") == "pkg/m.py"
    assert names(tmp_path / "into") == ["alias.py", "dangling", "pkg/m.py", "pkg/up"]


@pytest.mark.parametrize(
    "target", ["../secret", "pkg/../../secret", "/etc/passwd", "{here}/main.py", "via/../../secret"]
)
def test_a_link_that_leaves_the_folder_or_is_absolute_is_refused(here: Path, tmp_path: Path, target: str) -> None:
    put(here / "main.py")
    put(here / "pkg" / "m.py")
    (here / "via").symlink_to("pkg")
    put(tmp_path / "secret")
    (here / "link.py").symlink_to(target.format(here=here))
    with pytest.raises(SourceError, match=r"the link 'link\.py' leads to"):
        deliver(".", tmp_path / "into")


def test_a_folder_that_is_a_link_is_what_it_leads_to(here: Path, tmp_path: Path) -> None:
    put(here / "real" / "main.py")
    (here / "link").symlink_to("real")
    deliver("link", tmp_path / "into")
    assert names(tmp_path / "into") == ["main.py"]


def test_a_pipe_in_a_folder_is_refused_and_not_waited_for(here: Path, tmp_path: Path) -> None:
    os.mkfifo(here / "pipe")
    with pytest.raises(SourceError, match="'pipe' is neither a file, a folder nor a link"):
        deliver(".", tmp_path / "into")


@pytest.mark.parametrize("limits", [Limits(files=1), Limits(bytes=20)], ids=["files", "bytes"])
def test_a_folder_has_limits(here: Path, tmp_path: Path, limits: Limits) -> None:
    put(here / "a.py")
    put(here / "b.py")
    with pytest.raises(SourceError, match=r"limits\.files, limits\.bytes"):
        deliver(".", tmp_path / "into", limits=limits)


@pytest.mark.parametrize("levels", [200, 201, 1500])
def test_folders_in_each_other_have_a_limit(here: Path, tmp_path: Path, levels: int) -> None:
    for level in range(1, levels + 1):
        os.mkdir("d/" * level)
    Path("d/" * levels, "f.py").write_bytes(CODE)
    try:
        if levels > 200:
            with pytest.raises(SourceError, match="in more than 200 levels"):
                deliver(".", tmp_path / "into")
        else:
            deliver(".", tmp_path / "into")
            assert names(tmp_path / "into") == ["d/" * 200 + "f.py"]
    finally:
        remove_tree(str(here / "d"))


def test_a_file_has_a_limit_and_a_digest(here: Path, tmp_path: Path) -> None:
    put(here / "fn.py")
    with pytest.raises(SourceError, match=r"has 18 bytes; allowed: 5 \(limits.bytes\)"):
        deliver("fn.py", tmp_path / "into", limits=Limits(bytes=5))
    with pytest.raises(SourceError, match=f"its SHA-256 is {hashlib.sha256(CODE).hexdigest()}, not 000"):
        deliver("fn.py", tmp_path / "into", sha256="0" * 64)
    assert deliver("fn.py", tmp_path / "into", sha256=hashlib.sha256(CODE).hexdigest())
    with pytest.raises(SourceError, match="sha256 is for one file"):
        deliver(".", tmp_path / "into", sha256="0" * 64)


@pytest.mark.parametrize("code_src", ["main.py", "."])
def test_what_cannot_be_read_says_so(here: Path, tmp_path: Path, code_src: str) -> None:
    put(here / "main.py").chmod(0)
    if os.access(here / "main.py", os.R_OK):
        pytest.skip("this user reads every file (root, CAP_DAC_OVERRIDE)")
    with pytest.raises(SourceError, match=r"cannot be copied: .*Permission denied"):
        deliver(code_src, tmp_path / "into")


def test_the_digest_is_stable_and_follows_names_and_contents(here: Path, tmp_path: Path) -> None:
    def revision() -> str:
        return deliver(".", tmp_path / "into").revision

    put(here / "a.py")
    put(here / "pkg" / "b.py")
    seen = [revision()]
    os.utime(here / "a.py", (1, 1))
    assert revision() == seen[0]
    (here / "a.py").rename(here / "c.py")
    seen.append(revision())
    put(here / "c.py", b"other\n")
    seen.append(revision())
    put(here / "pkg" / "b.py", b"link").unlink()
    (here / "pkg" / "b.py").symlink_to("link")
    seen.append(revision())
    (here / "pkg" / "b.py").unlink()
    put(here / "pkg" / "b.py", b"link")
    seen.append(revision())
    assert len(set(seen)) == 5


@pytest.mark.parametrize(
    ("code_src", "near"), [("git+htps://h/r", "git+https"), ("GIT+FTP://h/r", "git+http"), ("ftp://h/x", "")]
)
def test_an_unknown_scheme_lists_the_known_ones(code_src: str, near: str) -> None:
    with pytest.raises(SourceError, match="is not known; allowed: a path, git") as caught:
        parse_source(Launch(handler="f", code_src=code_src))
    assert str(caught.value).endswith(f"did you mean {near!r}?" if near else "://")


@pytest.mark.parametrize(
    ("code_src", "quoted"),
    [
        ("https://user:s3cret@h/x.py", "https://***@h/x.py"),
        ("s3://AKIA:s3c@ret@h/x", "s3://***@h/x"),
        ("git+hxtps://user:s3cret@h/r?subdir=a@b#v", "git+hxtps://***@h/r?subdir=a@b#v"),
        ("git+hxtps://user:s3/cret@h/r", "git+hxtps://***@h/r"),
        ("s3:/AKIA:s3cret@h/x", "s3:/***@h/x"),
        ("user:s3cret@h/r", "***@h/r"),
        ("git+ssh://h:22/r@v", "git+ssh://h:22/r@v"),
        ("https://[::1]:80/r@v", "https://[::1]:80/r@v"),
        ("git@h:owner/repo", "git@h:owner/repo"),
        ("pkg/a@b.py", "pkg/a@b.py"),
    ],
)
def test_an_address_is_shown_without_its_login(code_src: str, quoted: str) -> None:
    assert shown(code_src) == quoted


def test_an_unknown_scheme_tells_no_password() -> None:
    with pytest.raises(SourceError, match=r"code_src 'ftp://\*\*\*@h/x'"):
        parse_source(Launch(handler="f", code_src="ftp://user:s3cret@h/x"))


def test_schemes_are_read_in_any_case_and_in_order() -> None:
    assert parse_source(Launch(handler="f", code_src="GIT+HTTPS://h/r")).scheme == "git+https"
    assert list(FETCHERS) == sorted(FETCHERS)
