"""git sources: who gets a login and who does not, and that no secret stays anywhere. Real git, real HTTP."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from pathlib import Path
from typing import Callable

import pytest
from git_server import GitServer, commit, fetch_to, git, make_repository, names_in

from nuwrap_runtime.errors import SourceError
from nuwrap_runtime.host import askpass
from nuwrap_runtime.host.sources import Source
from nuwrap_runtime.host.sources.git_address import parse_address
from nuwrap_runtime.host.sources.git_credentials import read_credentials
from nuwrap_runtime.launch import Network

TOKEN = "glpat-5ecret/of+this&test"  # noqa: S105


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return make_repository(tmp_path.resolve() / "srv" / "repo")


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path.resolve() / "into"


def add_submodule(repo: Path, url: str) -> None:
    pin = git(repo, "rev-parse", "HEAD")
    git(repo, "update-index", "--add", "--cacheinfo", f"160000,{pin},sub")
    (repo / ".gitmodules").write_text(f'[submodule "sub"]\n\tpath = sub\n\turl = {url}\n')
    git(repo, "add", ".gitmodules")
    git(repo, "commit", "-q", "-m", "submodule")


@pytest.mark.parametrize(
    ("environ", "login"),
    [
        ({"GIT_TOKEN": "glpat-x"}, ("oauth2", "glpat-x")),
        ({"GIT_TOKEN": "glpat_x"}, ("oauth2", "glpat_x")),
        ({"GIT_TOKEN": "ghp_x"}, ("oauth2", "ghp_x")),
        ({"GIT_TOKEN": "github_pat_x"}, ("oauth2", "github_pat_x")),
        ({"GIT_TOKEN": "other\n"}, ("other", "x-oauth-basic")),
        ({"GIT_USERNAME": "u", "GIT_PASSWORD": "p"}, ("u", "p")),
        ({"GIT_USER": "u", "GIT_PASSWORD": "p"}, ("u", "p")),
        ({"GIT_USER": "u", "GIT_PASSWORD": "p", "GIT_TOKEN": "ghp_t"}, ("oauth2", "ghp_t")),
        ({"GIT_TOKEN": "ghp_a", "NUWRAP_SOURCE_GIT_TOKEN": "ghp_b"}, ("oauth2", "ghp_b")),
        ({"GIT_USERNAME": "u", "NUWRAP_SOURCE_GIT_PASSWORD": "p", "GIT_PASSWORD": "q"}, ("u", "p")),
        ({"GIT_PASSWORD": "p"}, ("", "")),
        ({"GIT_USERNAME": "u"}, ("", "")),
        ({}, ("", "")),
    ],
)
def test_variables_give_a_login(environ: dict[str, str], login: tuple[str, str]) -> None:
    found = read_credentials(environ, "")
    assert (found.username, found.password) == login


def test_a_password_needs_no_name_when_the_address_has_one() -> None:
    assert read_credentials({"GIT_PASSWORD": "p"}, "me").username == "me"


@pytest.mark.parametrize(
    "environ", [{"GIT_TOKEN": "a\nb"}, {"GIT_SSH_KEY": "no key"}, {"GIT_SSH_KNOWN_HOSTS": "no-hosts"}]
)
def test_credentials_that_cannot_be_used_are_refused_without_showing_them(environ: dict[str, str]) -> None:
    with pytest.raises(SourceError) as caught:
        read_credentials(environ, "")
    assert next(iter(environ)) in str(caught.value)
    assert next(iter(environ.values())) not in str(caught.value)


@pytest.mark.parametrize(
    "location",
    [
        "git+https://user:s3cret@host/r",
        "git+https://user%3As3cret@host/r",
        "git+https://ghp_s3cret@host/r",
        "git+ssh://git:s3cret@host/r",
        "git+https://user:s3/cret@host/r",
        "git+https://user:s3#cret@host/r",
        "git+https:/user:s3cret@host/r",
    ],
)
def test_a_password_in_an_address_is_refused_and_not_repeated(location: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse_address(Source(location.partition(":")[0], location))
    assert "s3" not in str(caught.value)
    assert "cret" not in str(caught.value)


LOGIN = {"url": "https://Host.example:443", "username": "u", "password": "p"}


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Username for 'https://host.example': ", "u"),
        ("Username for 'https://host.example:443': ", "u"),
        ("Password for 'https://u@HOST.example': ", "p"),
        ("Password for 'https://a%40b@host.example': ", "p"),
        ("Password for 'http://u@host.example': ", None),
        ("Password for 'http://u@host.example:443': ", None),
        ("Password for 'https://u@host.example:8443': ", None),
        ("Password for 'https://u@host.example.evil': ", None),
        ("Password for 'https://host.example@evil': ", None),
        ("Password for 'https://u@evil@host.example': ", None),
        ("Password for 'https://u@host.example/.evil': ", None),
        ("Password for 'https://u@host.example': evil': ", None),
        ("Password for 'https://u@evil': Password for 'https://host.example': ", None),
        ("Password for 'https://host.example\n.evil': ", None),
        ("Password for 'https://host.example:x': ", None),
        ("Enter passphrase for key '/k': ", None),
        ("", None),
    ],
)
def test_only_questions_about_the_sources_server_are_answered(question: str, answer: str) -> None:
    assert askpass.answer(question, LOGIN) == answer


def leaks_of(secret: str, folders: list[Path]) -> list[str]:
    """Name each process of this machine and each file below the folders that shows the secret."""
    needle = secret.encode()
    found = [
        str(path)
        for process in Path("/proc").glob("[0-9]*")
        for path in (process / "cmdline", process / "environ")
        if needle in read(path)
    ]
    for folder in folders:
        found += [str(Path(top, name)) for top, _, files in os.walk(folder) for name in files if secret in name]
        found += [
            str(Path(top, name))
            for top, _, files in os.walk(folder)
            for name in files
            if needle in read(Path(top, name))
        ]
    return found


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_token_shows_nowhere_while_fetching_or_after(
    tmp_path: Path, repo: Path, into: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    make_repository(repo.parent / "lib")
    temporary, programs = tmp_path / "tmp", tmp_path / "bin"
    for folder in (temporary, programs):
        folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setenv("GIT_TOKEN", TOKEN)
    log, leaks = tmp_path / "log", []
    stub = f'#!/bin/sh\n{{ echo "$@"; env; }} >> {log}\nexec {shutil.which("git")} "$@"\n'
    (programs / "git").write_text(stub)
    (programs / "git").chmod(0o755)
    everywhere = [into, temporary, tmp_path / "into-home"]
    look = lambda _path: leaks.extend(leaks_of(TOKEN, everywhere))  # noqa: E731
    environ = {"PATH": f"{programs}:{os.environ['PATH']}", "GIT_TOKEN": TOKEN, "TMPDIR": str(temporary)}
    with GitServer(repo.parent, login=f"oauth2:{TOKEN}", on_request=look) as served:
        add_submodule(repo, "../../repo/.git")
        fetch_to(into, f"git+{served.url}/repo/.git", environ, keep_git=True)
        assert served.logins() == {f"oauth2:{TOKEN}"}
    assert "sub/main.py" in names_in(into)
    assert leaks + leaks_of(TOKEN, everywhere) == []
    logged = log.read_text()
    assert "fetch --quiet" in logged
    assert "5ecret" not in logged + "".join(capfd.readouterr())
    assert not [line for line in logged.splitlines() if line.startswith(("GIT_TOKEN", "NUWRAP_SOURCE"))]


@pytest.mark.parametrize(
    "environ", [{"GIT_TOKEN": TOKEN}, {"GIT_TOKEN": "0ther-5ecret"}, {}], ids=["", "other", "none"]
)
def test_a_refused_login_says_which_variables_and_not_their_values(
    repo: Path, into: Path, environ: dict[str, str]
) -> None:
    with GitServer(repo.parent, login="u:p") as served, pytest.raises(SourceError) as caught:
        fetch_to(into, f"git+{served.url}/repo/.git", environ)
    reason = str(caught.value)
    assert "GIT_TOKEN, or GIT_USERNAME and GIT_PASSWORD" in reason
    assert "fatal: " in reason
    assert "5ecret" not in reason
    assert ("wants a login" in reason) == (not environ)
    assert list(into.iterdir()) == []


@pytest.mark.parametrize("token", [TOKEN, "0ther-5ecret"])
def test_a_server_that_repeats_the_login_is_masked(repo: Path, into: Path, token: str) -> None:
    login = f"oauth2:{token}" if token == TOKEN else f"{token}:x-oauth-basic"
    with GitServer(repo.parent, login=login, is_telltale=True) as served, pytest.raises(SourceError) as caught:
        fetch_to(into, f"git+{served.url}/repo/.git", {"GIT_TOKEN": token})
    assert "remote: no access for" in str(caught.value)
    assert "5ecret" not in str(caught.value)
    assert base64.b64encode(login.encode()).decode() not in str(caught.value)


def test_a_hostile_submodule_on_another_port_sees_no_token(repo: Path, into: Path) -> None:
    with GitServer(repo.parent, login=f"oauth2:{TOKEN}") as served, GitServer(repo.parent, login="x:y") as hostile:
        add_submodule(repo, f"{hostile.url}/lib/.git")
        with pytest.raises(SourceError, match=r"only http://127\.0\.0\.1:[0-9]+ gets it"):
            fetch_to(into, f"git+{served.url}/repo/.git", {"GIT_TOKEN": TOKEN})
        assert served.logins() == {f"oauth2:{TOKEN}"}
        assert hostile.seen
        assert hostile.logins() == set()
    assert list(into.iterdir()) == []


def test_a_submodule_on_a_host_that_only_looks_the_same_sees_no_token(repo: Path, into: Path) -> None:
    with GitServer(repo.parent, login=f"oauth2:{TOKEN}") as served, GitServer(repo.parent, login="x:y") as hostile:
        port = hostile.url.rpartition(":")[2]
        add_submodule(repo, f"{served.url}@127.0.0.1:{port}/lib/.git")
        with pytest.raises(SourceError):
            fetch_to(into, f"git+{served.url}/repo/.git", {"GIT_TOKEN": TOKEN})
        assert hostile.seen
        assert f"oauth2:{TOKEN}" not in hostile.logins()


def test_a_redirect_to_another_port_takes_no_token_along(repo: Path, into: Path) -> None:
    with GitServer(repo.parent, login="x:y") as other, GitServer(repo.parent, redirect=other.url) as served:
        with pytest.raises(SourceError):
            fetch_to(into, f"git+{served.url}/repo/.git", {"GIT_TOKEN": TOKEN})
        assert other.seen
        assert other.logins() == set()


def test_a_redirect_after_the_login_takes_no_token_along(repo: Path, into: Path) -> None:
    with GitServer(repo.parent) as other, GitServer(repo.parent, login=f"oauth2:{TOKEN}") as served:

        def send_away(_path: str) -> None:
            if served.logins():
                served.redirect = other.url

        served.on_request = send_away
        with pytest.raises(SourceError, match="302"):
            fetch_to(into, f"git+{served.url}/repo/.git", {"GIT_TOKEN": TOKEN})
        assert served.logins() == {f"oauth2:{TOKEN}"}
        assert other.seen
        assert other.logins() == set()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A file with key and certificate for 127.0.0.1, valid for a day."""
    if not shutil.which("openssl"):
        pytest.skip("the program openssl is not on PATH: nothing here can make a certificate")
    key, path = tmp_path / "key.pem", tmp_path / "both.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, "-keyout", key, "-out", path]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    path.write_text(path.read_text() + key.read_text())
    return path


def test_https_needs_the_servers_ca(tmp_path: Path, repo: Path, into: Path, certificate: Path) -> None:
    with GitServer(repo.parent, tls=certificate, login="u:p") as served:
        login, location = {"GIT_USERNAME": "u", "GIT_PASSWORD": "p"}, f"git+{served.url}/repo/.git"
        fetch_to(into, location, login, network=Network(ca=str(certificate)))
        with pytest.raises(SourceError, match=r"network\.ca"):
            fetch_to(tmp_path / "two", location, login)
    assert "main.py" in names_in(into)


@pytest.mark.parametrize("way", ["redirect", "submodule"])
def test_https_never_goes_on_over_http(repo: Path, into: Path, certificate: Path, way: str) -> None:
    refused = pytest.raises(SourceError, match=r"uses 'http'; allowed from git\+https: https, ssh")
    with GitServer(repo.parent) as plain:
        add_submodule(repo, f"{plain.url}/repo/.git")
        redirect = plain.url if way == "redirect" else ""
        with GitServer(repo.parent, tls=certificate, redirect=redirect) as served, refused:
            fetch_to(into, f"git+{served.url}/repo/.git", network=Network(ca=str(certificate)))
        assert plain.seen == []


@pytest.fixture
def helper(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """Give variables under which the user's own credential helper answers `login` and logs what it is told."""

    def make(login: str) -> dict[str, str]:
        user, _, password = login.partition(":")
        program = tmp_path / "helper"
        program.write_text(
            f'#!/bin/sh\n{{ echo "$1"; cat; }} >> {tmp_path}/told\n'
            f'test "$1" = get && printf "username={user}\\npassword={password}\\n"\ntrue\n'
        )
        program.chmod(0o755)
        config = tmp_path / "gitconfig"
        config.write_text(f"[credential]\n\thelper = {program}\n")
        return {"GIT_CONFIG_GLOBAL": str(config)}

    return make


def test_without_ours_the_users_credential_helper_serves(
    tmp_path: Path, repo: Path, into: Path, helper: Callable[[str], dict[str, str]]
) -> None:
    with GitServer(repo.parent, login="u:p") as served:
        fetch_to(into, f"git+{served.url}/repo/.git", helper("u:p"))
    assert "get\n" in (tmp_path / "told").read_text()


def test_with_ours_no_credential_helper_hears_of_it(
    tmp_path: Path, repo: Path, into: Path, helper: Callable[[str], dict[str, str]]
) -> None:
    with GitServer(repo.parent, login=f"oauth2:{TOKEN}") as served:
        location = f"git+{served.url.replace('//', '//someone@')}/repo/.git"
        fetch_to(into, location, {**helper("wrong:wrong"), "GIT_TOKEN": TOKEN})
        assert served.logins() == {f"oauth2:{TOKEN}"}
    assert not (tmp_path / "told").exists()


PEM = "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0IGtleQ==\n-----END OPENSSH PRIVATE KEY-----"


def make_ssh(folder: Path, repo: Path) -> dict[str, str]:
    """Put an `ssh` on PATH that logs arguments and files it is given, then serves the repository."""
    folder.mkdir()
    (folder / "ssh").write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" >> {folder}/arguments\n'
        'for one in "$@"; do case "$one" in *File=*/key*|*HostsFile=*/known*) '
        f'path=$(echo "$one" | cut -d\'"\' -f2); stat -c %a "$path" >> {folder}/modes; cat "$path" >> {folder}/files;;'
        f" esac; done\nexec git-upload-pack {repo}\n"
    )
    (folder / "ssh").chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.mark.parametrize("is_path", [False, True], ids=["text", "path"])
def test_an_ssh_key_is_a_private_file_for_ssh_alone(tmp_path: Path, repo: Path, into: Path, is_path: bool) -> None:
    environ = {**make_ssh(tmp_path / "bin", repo), "GIT_SSH_KEY": PEM, "GIT_SSH_KNOWN_HOSTS": "h ssh-ed25519 AAAA"}
    if is_path:
        for name in ("GIT_SSH_KEY", "GIT_SSH_KNOWN_HOSTS"):
            (tmp_path / name).write_text(environ[name])
            environ[name] = str(tmp_path / name)
    fetch_to(into, "git+ssh://git@h:2222/o/r.git#main", environ, keep_git=True)
    arguments = (tmp_path / "bin" / "arguments").read_text().splitlines()
    assert {"BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=yes", "git@h", "2222"} <= set(arguments)
    assert set((tmp_path / "bin" / "modes").read_text().split()) == {"600"}
    assert (tmp_path / "bin" / "files").read_text().startswith(PEM + "\nh ssh-ed25519 AAAA\n")
    assert leaks_of("c2VjcmV0", [into]) == []


def test_without_a_key_the_users_ssh_asks_nothing(tmp_path: Path, repo: Path, into: Path) -> None:
    fetch_to(into, "git+ssh://h/o/r.git", make_ssh(tmp_path / "bin", repo))
    arguments = (tmp_path / "bin" / "arguments").read_text()
    assert "BatchMode=yes" in arguments
    assert "StrictHostKeyChecking" not in arguments


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("Host key verification failed.", "GIT_SSH_KNOWN_HOSTS"),
        ("git@h: Permission denied (publickey).", "GIT_SSH_KEY"),
    ],
)
def test_what_ssh_says_comes_with_advice(tmp_path: Path, repo: Path, into: Path, said: str, advice: str) -> None:
    environ = make_ssh(tmp_path / "bin", repo)
    (tmp_path / "bin" / "ssh").write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 255\n")
    with pytest.raises(SourceError) as caught:
        fetch_to(into, "git+ssh://h/o/r.git", environ)
    assert said in str(caught.value)
    assert advice in str(caught.value)


def test_a_login_is_for_one_fetch(tmp_path: Path, repo: Path, into: Path) -> None:
    commit(repo, {"b.py": ""})
    before = dict(os.environ)
    with GitServer(repo.parent, login="u:p") as served:
        fetch_to(into, f"git+{served.url}/repo/.git", {"GIT_USERNAME": "u", "GIT_PASSWORD": "p"})
        with pytest.raises(SourceError):
            fetch_to(tmp_path / "two", f"git+{served.url}/repo/.git")
    assert dict(os.environ) == before
