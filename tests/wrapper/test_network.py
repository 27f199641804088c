"""`network` of a launch: one index, one authority, one set of proxies for all of a start, and for the function."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from git_server import GitServer
from http_server import File, HttpProxy, HttpServer
from made_packages import wheel

from nuwrap_runtime.errors import LaunchError
from nuwrap_runtime.host.index import installer_environment
from nuwrap_runtime.host.network import AUTHORITIES, settled, where_unset, with_network
from nuwrap_runtime.launch import Network, parse_launch

KEY = "store://p/artifact/artifact/a:1"
CODE = b"""import os, ssl, urllib.request
def f(a, address):
    import twig
    asked = urllib.request.urlopen(address, context=ssl.create_default_context()).read().decode()
    is_told = os.environ["REQUESTS_CA_BUNDLE"] == os.environ["SSL_CERT_FILE"]
    return [open(a.as_file()).read(), asked, twig.VERSION, is_told]
"""
PEM = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"


def make_authority(folder: Path) -> Path:
    """Return a PEM file with a server's key and certificate; its authority is `certificate.pem` beside it."""
    new = ["openssl", "req", "-newkey", "rsa:2048", "-nodes"]
    authority = ["-x509", "-days", "2", "-subj", "/CN=an authority", "-keyout", "ca.key", "-out", "certificate.pem"]
    authority += ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]  # which Python 3.13 looks for
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\nauthorityKeyIdentifier=keyid\n")
    signed = ["openssl", "x509", "-req", "-in", "request", "-CA", "certificate.pem", "-CAkey", "ca.key", "-days", "2"]
    for command in (
        [*new, *authority],
        [*new, "-subj", "/CN=127.0.0.1", "-keyout", "server.key", "-out", "request"],
        [*signed, "-set_serial", "2", "-extfile", "names", "-out", "server.crt"],
    ):
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    path = folder / "server.pem"
    path.write_text((folder / "server.key").read_text() + (folder / "server.crt").read_text())
    return path


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    if not shutil.which("openssl"):
        pytest.skip("the program openssl is not on PATH: nothing here can make a certificate")
    return make_authority(tmp_path)


@pytest.fixture
def company(certificate: Path, tmp_path: Path) -> Iterator[HttpServer]:
    """A server with an authority of its own that has code, data and a package index."""
    made = wheel(tmp_path, "twig", "1.0")
    page = f'<a href="/files/{made.name}" data-core-metadata="true">{made.name}</a>'.encode()
    with zipfile.ZipFile(made) as archive:
        metadata = archive.read("twig-1.0.dist-info/METADATA")
    with HttpServer(tls=certificate) as server:
        server.on("/fn.py", File(CODE))
        server.on("/data.txt", File(b"data"))
        server.on("/simple/twig/", File(page, content_type="text/html"))
        server.on(f"/files/{made.name}", File(made.read_bytes()))
        server.on(f"/files/{made.name}.metadata", File(metadata))
        yield server


def own_ca(certificate: Path) -> str:
    return (certificate.parent / "certificate.pem").read_text()


def keys_for(server: HttpServer) -> dict[str, Any]:
    return {
        "code_src": f"{server.url}/fn.py",
        "inputs": {"a": KEY},
        "entities": {KEY: {"kind": "artifact", "path": f"{server.url}/data.txt"}},
        "parameters": {"address": f"{server.url}/data.txt"},
        "requirements": ["twig"],
    }


@pytest.mark.parametrize("has_work", [True, False], ids=["work", "no work"])
def test_an_authority_as_text_holds_for_fetch_inputs_installation_and_function(
    run_job, company: HttpServer, certificate: Path, tmp_path: Path, has_work: bool
) -> None:
    network = {"index": [f"{company.url}/simple"], "ca_text": own_ca(certificate)}
    (tmp_path / "temporary").mkdir()
    env = {**dict.fromkeys(AUTHORITIES, ""), "TMPDIR": str(tmp_path / "temporary")}
    env.update({"NUWRAP_WORK": str(tmp_path / "work")} if has_work else {})
    done = run_job(network=network, env=env, **keys_for(company))
    assert done.code == 0, done.stderr
    assert done.value == ["data", "data", "1.0", True]
    assert not list((tmp_path / "temporary").glob("nuwrap-ca-*"))


def test_without_it_nobody_is_trusted(run_job, company: HttpServer) -> None:
    done = run_job(**keys_for(company))
    assert (done.code, "network.ca" in done.failure["message"]) == (3, True)


def test_git_takes_it_too(run_job, certificate: Path, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    repo.mkdir()
    (repo / "main.py").write_text("def f(): return 7\n")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *command], cwd=repo, check=True)
    with GitServer(tmp_path, tls=certificate) as served:
        done = run_job(code_src=f"git+{served.url}/repo/.git", network={"ca_text": own_ca(certificate)})
    assert done.code == 0, done.stderr


def test_proxies_are_asked_by_the_start_and_by_the_function_but_for_what_is_near(run_job, web: HttpServer) -> None:
    web.on("/fn.py", File(b"import urllib.request\ndef f(u): return [urllib.request.urlopen(u).status, 'ok']\n"))
    far = f"http://127.0.0.1:{web.port}/fn.py"
    unset = {one: "" for name in ("http_proxy", "no_proxy") for one in (name, name.upper())}
    keys = {"code_src": far, "parameters": {"u": far}, "env": unset}
    with HttpProxy() as proxy:
        assert run_job(network={"proxies": {"http": proxy.url}}, **keys).value == [200, "ok"]
        assert {one.path for one in proxy.seen} == {f"GET {far}"}
        assert len(proxy.seen) == 2
        assert run_job(network={"proxies": {"http": proxy.url, "no": "127.0.0.1"}}, **keys).value == [200, "ok"]
        assert len(proxy.seen) == 2


def test_a_command_without_a_launch_document_takes_the_variable(
    tree: str, company: HttpServer, certificate: Path, tmp_path: Path
) -> None:
    entry = os.path.join(tree, "worker", "nuwrap_runtime", "host", "entry.py")
    network = json.dumps({"ca_text": own_ca(certificate)})
    command = [sys.executable, "-I", "-S", entry, "store", f"{company.url}/data.txt"]
    for name, variables in (("one", {"NUWRAP_NETWORK": network}), ("two", {})):
        done = subprocess.run([*command, str(tmp_path / name)], check=False, env={**os.environ, **variables})
        assert (done.returncode == 0) == bool(variables)
    assert (tmp_path / "one").read_bytes() == b"data"


def test_the_text_is_a_file_of_the_work_folder_that_later_starts_take_again(tmp_path: Path) -> None:
    environ = {"NUWRAP_WORK": str(tmp_path / "work")}
    paths = set()
    for _ in range(2):
        with settled(Network(index=("https://i",), ca_text=PEM), environ) as network:
            assert (Path(network.ca).read_text(), network.ca_text, network.index) == (PEM, "", ("https://i",))
            paths.add(network.ca)
    assert [path.name for path in (tmp_path / "work").iterdir()] == [os.path.basename(path) for path in paths]


def test_another_file_in_its_place_is_replaced(tmp_path: Path) -> None:
    environ = {"NUWRAP_WORK": str(tmp_path)}
    with settled(Network(ca_text=PEM), environ) as network:
        path = Path(network.ca)
    path.unlink()
    path.symlink_to("/etc/passwd")
    with settled(Network(ca_text=PEM), environ) as network:
        assert (network.ca, path.is_symlink(), path.read_text()) == (str(path), False, PEM)


def test_the_starts_own_programs_get_the_networks_variables_and_the_function_what_it_has_not() -> None:
    network = Network(ca="/ca.pem", proxies={"https": "http://p:1", "no": ".near"})
    own = {"HTTPS_PROXY": "http://mine", "SSL_CERT_FILE": "/mine.pem", "X": "1"}
    made = with_network(own, network)
    assert (made["HTTPS_PROXY"], made["https_proxy"], made["no_proxy"]) == ("http://p:1", "http://p:1", ".near")
    assert (made["SSL_CERT_FILE"], made["AWS_CA_BUNDLE"], made["X"]) == ("/ca.pem", "/ca.pem", "1")
    seen = where_unset(own, network)
    assert (seen["HTTPS_PROXY"], seen["SSL_CERT_FILE"], "https_proxy" in seen) == ("http://mine", "/mine.pem", False)
    assert (seen["NO_PROXY"], seen["REQUESTS_CA_BUNDLE"]) == (".near", "/ca.pem")


def test_an_indexs_name_is_for_uv_alone() -> None:
    network = Network(index=("inner=https://i/simple", "https://j/simple?a=b"))
    made = installer_environment({"HOME": "/", "UV_INDEX_INNER_PASSWORD": "x"}, network, "/w", "/c")
    assert (made["PIP_INDEX_URL"], made["PIP_EXTRA_INDEX_URL"]) == ("https://i/simple", "https://j/simple?a=b")
    assert (made["UV_INDEX"], made["UV_INDEX_INNER_PASSWORD"]) == ("inner=https://i/simple", "x")


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"ca": "/x", "ca_text": PEM}, "ca and ca_text are both given"),
        ({"ca_text": "MA=="}, "has no certificate"),
        ({"ca_text": PEM + "-----BEGIN PRIVATE KEY-----\nSECRET\n"}, "has a private key"),
    ],
)
def test_what_is_no_authority_is_refused(network: dict[str, str], message: str) -> None:
    with pytest.raises(LaunchError, match=message) as caught:
        parse_launch({"api": "nuwrap/v1", "handler": "f", "code": "x", "network": network})
    assert "SECRET" not in str(caught.value)


def test_the_text_survives_the_document() -> None:
    document = {"api": "nuwrap/v1", "handler": "f", "code": "x", "network": {"ca_text": PEM, "index": ["https://i"]}}
    assert parse_launch(document).to_document() == document
