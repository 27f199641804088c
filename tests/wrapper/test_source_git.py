"""git sources: refs, servers that refuse, subfolders, submodules, limits, refusals. Real git, real HTTP."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from git_server import MAIN, WHEN, GitServer, commit, fetch_to, git, make_repository, names_in

from nuwrap_runtime.errors import SourceError
from nuwrap_runtime.host.sources import Source, git_refs
from nuwrap_runtime.host.sources.git_address import parse_address
from nuwrap_runtime.host.sources.git_tree import check_listing
from nuwrap_runtime.launch import Limits, Network

FILES = ["main.py", "pkg/mod.py"]


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return make_repository(tmp_path.resolve() / "srv" / "repo")


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path.resolve() / "into"


def message_of(into: Path, location: str, **options: object) -> str:
    """Fetch what must fail; return the reason, having seen that nothing is left."""
    with pytest.raises(SourceError) as caught:
        fetch_to(into, location, **options)
    assert list(into.iterdir()) == []
    return str(caught.value)


def make_history(repo: Path) -> dict[str, str]:
    """Give the repository branches and tags; return ref → commit."""
    first = git(repo, "rev-parse", "HEAD")
    git(repo, "checkout", "-q", "-b", "feature/x")
    feature = commit(repo, {"feature.py": ""})
    git(repo, "tag", "-a", "annotated", "-m", "a tag")
    git(repo, "checkout", "-q", "main")
    git(repo, "tag", "light")
    git(repo, "tag", "same")
    git(repo, "branch", "same", feature)
    main = commit(repo, {"new.py": ""})
    return {
        "": main,
        "HEAD": main,
        "main": main,
        "feature/x": feature,
        "feature%2Fx": feature,
        "annotated": feature,
        "light": first,
        "refs/tags/annotated": feature,
        "heads/feature/x": feature,
        "same": feature,
        "tags/same": first,
        first: first,
        feature.upper(): feature,
        first[:7]: first,
        feature[:39]: feature,
    }


@pytest.mark.parametrize("server", [{}, {"is_old": True}, {"dumb": True}], ids=["smart", "protocol 0", "dumb"])
def test_every_form_of_ref_gives_its_commit(tmp_path: Path, repo: Path, server: dict[str, bool]) -> None:
    wanted = make_history(repo)
    git(repo, "update-server-info")
    with GitServer(repo.parent, **server) as served:
        base = f"git+{served.url}/repo/.git"
        got = {
            ref: fetch_to(tmp_path / f"into{n}", base + ("#" + ref if ref else "")).revision
            for n, ref in enumerate(wanted)
        }
    assert got == wanted
    assert names_in(tmp_path / "into0") == ["main.py", "new.py", "pkg/mod.py"]


@pytest.mark.parametrize("ref", ["main", "", "light", "annotated"])
def test_a_named_ref_comes_without_history(repo: Path, into: Path, ref: str) -> None:
    make_history(repo)
    fetch_to(into, f"git+file://{repo}" + (f"#{ref}" if ref else ""), keep_git=True)
    assert git(into, "rev-list", "--count", "HEAD") == "1"


@pytest.mark.parametrize(("is_old", "commits"), [(False, "1"), (True, "3")], ids=["served", "refused"])
def test_an_unlisted_commit_comes_alone_or_with_everything(repo: Path, into: Path, is_old: bool, commits: str) -> None:
    commit(repo, {"a.py": ""})
    wanted = commit(repo, {"b.py": ""})
    commit(repo, {"c.py": ""})
    with GitServer(repo.parent, is_old=is_old) as served:
        got = fetch_to(into, f"git+{served.url}/repo/.git#{wanted}", keep_git=True)
    assert got.revision == wanted
    assert git(into, "rev-list", "--count", "HEAD") == commits
    assert names_in(into / "pkg") == ["mod.py"]


@pytest.mark.parametrize("allowed", ["true", "false"])
def test_an_abbreviation_needs_no_filter_at_the_server(repo: Path, into: Path, allowed: str) -> None:
    git(repo, "config", "uploadpack.allowFilter", allowed)
    wanted = git(repo, "rev-parse", "HEAD")
    commit(repo, {"later.py": ""})
    assert fetch_to(into, f"git+file://{repo}#{wanted[:9]}", keep_git=True).revision == wanted
    assert names_in(into / "pkg") == ["mod.py"]
    assert git(into, "rev-list", "--count", "HEAD") == "1"
    assert "partial" not in (into / ".git" / "config").read_text()


def test_an_ambiguous_abbreviation_names_the_commits(tmp_path: Path, into: Path) -> None:
    repo = tmp_path / "repo"
    repo.mkdir()
    git(repo, "init", "-q")
    commit(repo, {"main.py": MAIN})
    tree = git(repo, "rev-parse", "HEAD^{tree}")
    twins = [git(repo, "commit-tree", tree, "-m", str(number)) for number in (14565, 25120)]  # found by counting
    for twin in twins:
        git(repo, "branch", f"b{twin}", twin)
    assert [twin[:7] for twin in twins] == ["29f4dd6", "29f4dd6"], WHEN
    reason = message_of(into, f"git+file://{repo}#29f4dd6")
    assert "'29f4dd6' is ambiguous, 2 commits begin so" in reason
    assert all(twin in reason for twin in twins)
    assert fetch_to(tmp_path / "more", f"git+file://{repo}#{twins[1][:12]}").revision == twins[1]


def test_a_branch_that_looks_like_a_commit_is_a_branch(repo: Path, into: Path) -> None:
    first = git(repo, "rev-parse", "HEAD")
    second = commit(repo, {"b.py": ""})
    git(repo, "branch", first[:8], second)
    assert fetch_to(into, f"git+file://{repo}#{first[:8]}").revision == second


@pytest.mark.parametrize("ref", ["nope", "abc123", "deadbeef", "refs/pull/7/head", "0123456789" * 4])
def test_an_unknown_ref_is_named_with_those_that_are_there(repo: Path, into: Path, ref: str) -> None:
    git(repo, "tag", "v1")
    reason = message_of(into, f"git+file://{repo}#{ref}")
    assert repr(ref) in reason
    assert "branches: main; tags: v1" in reason


def test_many_names_are_cut_at_ten() -> None:
    refs = {f"refs/tags/v{n:02}": "0" * 40 for n in range(25)}
    assert git_refs.describe_refs(refs) == (
        "branches: none; tags: " + ", ".join(f"v{n:02}" for n in range(10)) + " and 15 more"
    )


def test_a_repository_without_commits_says_so(tmp_path: Path, into: Path) -> None:
    git(tmp_path, "init", "-q", "--bare", "bare.git")
    reason = message_of(into, f"git+file://{tmp_path.resolve()}/bare.git")
    assert "cannot fetch the default branch" in reason
    assert "branches: none" in reason


def test_sha256_repository(tmp_path: Path, into: Path) -> None:
    repo = make_repository(tmp_path / "repo", init=("--object-format=sha256",))
    wanted = git(repo, "rev-parse", "HEAD")
    assert len(wanted) == 64
    for n, ref in enumerate(("main", wanted, wanted[:10], wanted[:50])):
        assert fetch_to(tmp_path / f"into{n}", f"git+file://{repo}#{ref}").revision == wanted


def test_bare_repository_at_a_path_with_space_and_percent(tmp_path: Path, repo: Path, into: Path) -> None:
    bare = tmp_path / "a b%20c" / "é.git"
    bare.parent.mkdir()
    git(tmp_path, "clone", "-q", "--bare", str(repo), str(bare))
    done = fetch_to(into, f"git+file://{tmp_path}/a b%2520c/%C3%A9.git#main")
    assert done.root == str(into)
    assert done.revision == git(bare, "rev-parse", "main")
    assert (into / "main.py").read_text() == MAIN
    assert names_in(into) == FILES


def test_only_the_subdir_is_delivered(repo: Path, into: Path) -> None:
    commit(repo, {"a dir/c++/main.py": "x = 1\n"})
    fetch_to(into, f"git+file://{repo}?subdir=a%20dir/c++/#main")
    assert names_in(into) == ["main.py"]


def test_a_missing_subdir_names_the_folders_there(repo: Path, into: Path) -> None:
    assert "subdir 'nope' is no folder of the repository; its folders: pkg" in message_of(
        into, f"git+file://{repo}?subdir=nope"
    )


@pytest.mark.parametrize("target", ["/etc", "..", "../..", "pkg/../../x"])
def test_a_link_out_of_the_folder_is_refused(repo: Path, into: Path, target: str) -> None:
    (repo / "link").symlink_to(target)
    commit(repo, {})
    assert "the link 'link' leads to" in message_of(into, f"git+file://{repo}")


def test_a_subdir_that_is_a_link_out_is_refused(repo: Path, into: Path) -> None:
    (repo / "link").symlink_to("/etc")
    commit(repo, {})
    assert "is no folder of the repository" in message_of(into, f"git+file://{repo}?subdir=link")


@pytest.mark.parametrize("target", [".git", ".git/objects"])
def test_a_subdir_that_is_a_link_to_gits_own_folder_is_refused(repo: Path, into: Path, target: str) -> None:
    (repo / "gl").symlink_to(target)
    commit(repo, {})
    assert "is no folder of the repository" in message_of(into, f"git+file://{repo}?subdir=gl")


def test_a_name_with_a_line_separator_is_one_name() -> None:
    assert git_refs.parse_refs("aa\trefs/heads/x\u2028bb\trefs/heads/main\n") == {
        "refs/heads/x\u2028bb\trefs/heads/main": "aa"
    }


def test_links_inside_stay_links(repo: Path, into: Path) -> None:
    (repo / "pkg" / "link.py").symlink_to("../main.py")
    (repo / "dangling").symlink_to("not/there")
    commit(repo, {})
    fetch_to(into, f"git+file://{repo}")
    assert os.readlink(into / "pkg" / "link.py") == "../main.py"
    assert os.readlink(into / "dangling") == "not/there"


@pytest.mark.parametrize("limits", [Limits(files=1), Limits(bytes=20)], ids=["files", "bytes"])
def test_code_over_its_limits_is_refused(repo: Path, into: Path, limits: Limits) -> None:
    assert "(limits." in message_of(into, f"git+file://{repo}", limits=limits)


def test_a_few_trees_with_millions_of_files_are_refused_before_they_are_checked_out(repo: Path, into: Path) -> None:
    made = git(repo, "hash-object", "-w", "--stdin", stdin="x")
    for kind in ("100644 blob", *["040000 tree"] * 4):
        made = git(repo, "mktree", stdin="".join(f"{kind} {made}\t{number}\n" for number in range(40)))
    git(repo, "update-ref", "refs/heads/bomb", git(repo, "commit-tree", "-m", "bomb", made))
    assert "has more than 1000 files (limits.files)" in message_of(
        into, f"git+file://{repo}#bomb", limits=Limits(files=1000)
    )
    with pytest.raises(ValueError, match=r"has more than 9 bytes \(limits\.bytes\)"):
        check_listing(
            Limits(bytes=9), [b"100644 blob 0a       4\ta\0", b"160000 commit 0a - \tb\x00100644 blob 0a 6\tc\0"]
        )


@pytest.mark.parametrize("levels", [200, 201])
def test_folders_in_each_other_have_a_limit(repo: Path, into: Path, levels: int) -> None:
    commit(repo, {"d/" * levels + "f.py": ""})
    if levels > 200:
        assert "in more than 200 levels" in message_of(into, f"git+file://{repo}")
    else:
        fetch_to(into, f"git+file://{repo}")
        assert "d/" * levels + "f.py" in names_in(into)


def add_submodule(repo: Path, name: str, url: str, pin: str = "") -> None:
    """Record `url` as submodule `name` of the repository, at the commit `pin` of its sibling `lib`."""
    pin = pin or git(repo.parent / "lib", "rev-parse", "HEAD")
    git(repo, "update-index", "--add", "--cacheinfo", f"160000,{pin},{name}")
    (repo / ".gitmodules").write_text(f'[submodule "{name}"]\n\tpath = {name}\n\turl = {url}\n')
    git(repo, "add", ".gitmodules")
    git(repo, "commit", "-q", "-m", "submodule")


@pytest.mark.parametrize("server", [{}, {"is_old": True}, {"dumb": True}], ids=["smart", "protocol 0", "dumb"])
@pytest.mark.parametrize("is_relative", [True, False], ids=["relative", "absolute"])
def test_submodules_come_at_their_commit(repo: Path, into: Path, server: dict[str, bool], is_relative: bool) -> None:
    lib = make_repository(repo.parent / "lib")
    pin = git(lib, "rev-parse", "HEAD")
    commit(lib, {"later.py": ""})
    git(lib, "update-server-info")
    with GitServer(repo.parent, login="u:p", **server) as served:
        add_submodule(repo, "sub", "../../lib/.git" if is_relative else f"{served.url}/lib/.git", pin)
        git(repo, "update-server-info")
        fetch_to(into, f"git+{served.url}/repo/.git", {"GIT_USER": "u", "GIT_PASSWORD": "p"})
    assert names_in(into) == [".gitmodules", *FILES, "sub/main.py", "sub/pkg/mod.py"]


def test_submodules_of_submodules_from_files(tmp_path: Path, repo: Path, into: Path) -> None:
    make_repository(repo.parent / "lib")
    middle = make_repository(repo.parent / "middle")
    add_submodule(middle, "inner", "../lib")
    add_submodule(repo, "outer", str(middle), git(middle, "rev-parse", "HEAD"))
    fetch_to(into, f"git+file://{repo}")
    assert "outer/inner/main.py" in names_in(into)
    assert not [name for name in names_in(into) if ".git" in name.split("/")]


def test_file_submodule_of_a_remote_source_is_refused(repo: Path, into: Path) -> None:
    add_submodule(repo, "sub", str(make_repository(repo.parent / "lib")))
    with GitServer(repo.parent) as served:
        reason = message_of(into, f"git+{served.url}/repo/.git")
    assert "a submodule or a redirect uses 'file'; allowed from git+http: http, https, ssh" in reason


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a repository to another user")
def test_a_repository_of_another_user(tmp_path: Path, repo: Path, into: Path) -> None:
    git(tmp_path, "clone", "-q", "--bare", str(repo), str(tmp_path / "bare.git"))
    for path in (repo, tmp_path / "bare.git"):
        subprocess.run(["chown", "-R", "12345", str(path)], check=True)
    refused = subprocess.run(
        ["git", "clone", "-q", f"file://{repo}", str(tmp_path / "plain")], capture_output=True, text=True, check=False
    )
    assert "dubious ownership" in refused.stderr
    fetch_to(into, f"git+file://{repo}")
    fetch_to(tmp_path / "two", f"git+file://{tmp_path}/bare.git/")
    (tmp_path / "short").symlink_to(repo)
    fetch_to(tmp_path / "three", f"git+file://{tmp_path}/short")
    assert names_in(into) == names_in(tmp_path / "two") == names_in(tmp_path / "three") == FILES
    assert not (tmp_path / "into-home" / ".gitconfig").exists()


def test_git_stays_when_it_is_wanted(repo: Path, into: Path) -> None:
    done = fetch_to(into, f"git+file://{repo}", keep_git=True)
    assert git(into, "rev-parse", "HEAD") == done.revision
    assert git(into, "status", "--porcelain") == ""
    assert [path.name for path in into.iterdir() if path.name.startswith(".")] == [".git"]


def test_git_of_a_subdir_cannot_stay(repo: Path, into: Path) -> None:
    assert "keep_git keeps a whole repository" in message_of(into, f"git+file://{repo}?subdir=pkg", keep_git=True)


def test_hooks_templates_and_variables_of_the_user_change_nothing(tmp_path: Path, repo: Path, into: Path) -> None:
    hooks = tmp_path / "template" / "hooks"
    hooks.mkdir(parents=True)
    (hooks / "post-checkout").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (hooks / "post-checkout").chmod(0o755)
    (hooks.parent / "marker").touch()
    add_submodule(repo, "sub", str(make_repository(repo.parent / "lib")))
    config = tmp_path / "config"
    config.write_text(f'[core]\n\thooksPath = "{hooks}"\n[init]\n\ttemplateDir = "{tmp_path}/template"\n')
    hostile = {"GIT_CONFIG_GLOBAL": str(config), "GIT_DIR": "/nowhere", "GIT_TEMPLATE_DIR": str(hooks.parent)}
    hostile.update(GIT_INDEX_FILE="/nowhere", GIT_WORK_TREE="/nowhere", GIT_TRACE=str(tmp_path / "trace"))
    fetch_to(into, f"git+file://{repo}", hostile, keep_git=True)
    assert "sub/main.py" in names_in(into)
    assert not [name for name in names_in(into) if name.endswith("marker")]
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "trace").exists()


def test_a_repository_around_the_work_folder_plays_no_part(tmp_path: Path, repo: Path) -> None:
    around = make_repository(tmp_path / "around")
    git(around, "config", "url.file:///nowhere/.insteadOf", "file:///")
    fetch_to(around / "into", f"git+file://{repo}")
    assert names_in(around / "into") == FILES


def test_the_users_configuration_still_counts(tmp_path: Path, repo: Path, into: Path) -> None:
    config = tmp_path / "home" / ".gitconfig"
    config.parent.mkdir()
    config.write_text(f'[url "file://{repo.parent}/"]\n\tinsteadOf = "file:///short/"\n')
    assert fetch_to(into, "git+file:///short/repo", {"HOME": str(config.parent)}).revision


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("git+https://h/r#--upload-pack=x", "looks like an option"),
        ("git+https://h/r#%2D-upload-pack=x", "looks like an option"),
        ("git+ssh://-oProxyCommand=x/r", "host '-oProxyCommand=x' is refused"),
        ("git+ssh://-oProxyCommand@h/r", "user '-oProxyCommand' is refused"),
        ("git+https://01234567890123456789@h/r", "a password or token in an address is refused"),
        ("git+ssh://h:x/r", "host 'h' is refused"),
        ("git+https://h/r\nx", "control characters are refused"),
        ("git+https://h/r%0ax", "control characters are refused"),
        ("git+https://h/r#v1%00", "control characters are refused"),
        ("git+https://h/r#", "no ref after '#'"),
        ("git+https://h/r#a..b", "no name that git allows"),
        ("git+https://h/r#main:refs/heads/x", "no name that git allows"),
        ("git+https://h/r#main?subdir=x", "'?subdir=' stands before '#'"),
        ("git+https://h/r#sha256=abc", "pin git code by its commit"),
        ("git+https://h/r?depth=1", "unknown key 'depth'"),
        ("git+https://h/r?subdir=a&subdir=b", "subdir is given twice"),
        ("git+https://h/r?subdir=../x", "without '..'"),
        ("git+https://h/r?subdir=a/%2e%2e/x", "without '..'"),
        ("git+https://h/r?subdir=/etc", "without '..'"),
        ("git+https://h/r?subdir=", "without '..'"),
        ("git+https://h/r?subdir=.git", "without '..'"),
        ("git+https://h/", "names no repository"),
        ("git+https:///r", "host '' is refused"),
        ("git+ssh:git@h:o/r", "has not the form"),
        ("git+file://host/r", "a file address has no host"),
        ("git+file://./r", "a file address has no host"),
    ],
)
def test_text_that_git_could_misread_is_refused(location: str, reason: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse_address(Source(location.partition(":")[0], location))
    assert reason in str(caught.value)


def test_a_digest_is_none_of_gits_business() -> None:
    with pytest.raises(SourceError, match="pin git code by its commit"):
        parse_address(Source("git+https", "git+https://h/r", sha256="0" * 64))


def test_an_ssh_address_with_a_port_goes_to_git_as_it_is() -> None:
    address = parse_address(Source("git+ssh", "git+ssh://git@host:2222/o/a b%20c.git#v1"))
    assert (address.url, address.ref) == ("ssh://git@host:2222/o/a%20b%20c.git", "v1")


def test_no_git_on_path_is_one_clear_error(tmp_path: Path, repo: Path, into: Path) -> None:
    reason = message_of(into, f"git+file://{repo}", environ={"PATH": str(tmp_path)})
    assert "the program git is not on PATH" in reason


def test_a_folder_that_is_no_repository_says_what_git_said(tmp_path: Path, into: Path) -> None:
    reason = message_of(into, f"git+file://{tmp_path}")
    assert "does not appear to be a git repository" in reason
    assert "see that the address is right" in reason


def test_a_mute_server_is_left_after_limits_seconds(repo: Path, into: Path) -> None:
    with GitServer(repo.parent, is_mute=True) as served:
        reason = message_of(into, f"git+{served.url}/repo", limits=Limits(seconds=1.5))
        assert served.gone.wait(30) or not served.asked.is_set()
    assert "is not done after 1.5 s (limits.seconds)" in reason


STOPPED_CHILD = """
import os, signal, sys
from nuwrap_runtime.errors import Stopped
from nuwrap_runtime.host.sources import Source, fetch
def stop(*_):
    raise Stopped("stopped")
signal.signal(signal.SIGTERM, stop)
try:
    fetch(Source("git+http", sys.argv[1]), sys.argv[2], os.environ)
except Stopped:
    sys.exit(143)
"""


def test_a_stop_leaves_no_file_and_no_process(repo: Path, into: Path) -> None:
    into.mkdir()
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "GIT_TOKEN": "t0ken-of-a-stop"}
    with GitServer(repo.parent, is_mute=True) as served:
        child = subprocess.Popen(
            [sys.executable, "-c", STOPPED_CHILD, f"git+{served.url}/repo", str(into)],
            env=environ,
            start_new_session=True,
        )
        assert served.asked.wait(30)
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 143
        assert served.gone.wait(30)
    assert list(into.iterdir()) == []


def test_a_proxy_is_asked_in_the_servers_place(repo: Path, into: Path) -> None:
    with GitServer(repo.parent) as served:
        fetch_to(into, "git+http://git.invalid/repo/.git", network=Network(proxies={"http": served.url}))
        assert {path.split("/repo")[0] for path, _login in served.seen} == {"http://git.invalid"}
    assert names_in(into) == FILES
