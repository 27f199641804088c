"""Registries for tests: the `docker-registry` program with password, TLS and client certificates, and images put in.

What puts images in is urllib, not the client under test.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import ssl
import subprocess
import tarfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urljoin

import pytest
from typing_extensions import Self

USER, PASSWORD = "test-user", "a-test-password"
BCRYPT = "$2b$04$rlNqi1e3gwyOK4hrmsPdIu5QVELYEGJ3XJWj5ooxAUSxJk/8i34gi"  # of PASSWORD: the registry takes no other
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
SERVICE = "registry of a nuwrap test"
LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass
class Running:
    """A registry that is under way: `host:port`, its authority's PEM file ("" without TLS), and a docker config that
    knows its user. `client` are certificate and key where it asks for them. Leaving `with` ends it.
    """

    address: str
    ca: str
    user: str
    password: str
    docker_config: str
    log: Path
    process: subprocess.Popen[bytes] = field(repr=False)
    client: tuple[str, str] | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.ca else 'http'}://{self.address}"

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)  # it waits a minute for open connections otherwise
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def call(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[Mapping[str, str], bytes]:
        """Send a request with the user's password, past any proxy, and return the answer's headers and body."""
        request = urllib.request.Request(urljoin(self.url, path), body, dict(headers or {}), method=method)  # noqa: S310
        if self.user:
            request.add_header("Authorization", f"Basic {encode(self.user, self.password)}")
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if self.ca:
            context = ssl.create_default_context(cafile=self.ca)
            if self.client:
                context.load_cert_chain(*self.client)
            handlers.append(urllib.request.HTTPSHandler(context=context))
        with urllib.request.build_opener(*handlers).open(request, timeout=30) as answer:
            return dict(answer.headers), answer.read()


def start_registry(
    folder: Path,
    *,
    password: bool = False,
    tls: bool = False,
    client_certificates: bool = False,
    token_realm: str = "",
) -> Running:
    """Start a registry on a free port of 127.0.0.1 with its files in `folder`; skips where a program is missing.

    With `token_realm` it sends its callers there for a token as `make_token` signs it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    program = find_program("docker-registry", "the Debian package docker-registry")
    ca = make_authority(folder) if tls or client_certificates else ""
    client = make_certificate(folder, "client") if client_certificates else None
    config: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "info", "formatter": "json"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": {"addr": "127.0.0.1:0", "secret": "of these tests"},
    }
    if ca:
        certificate, key = make_certificate(folder, "server")
        config["http"]["tls"] = {"certificate": certificate, "key": key}
        if client:
            config["http"]["tls"]["clientcas"] = [ca]
    if token_realm:
        authority = make_authority(folder)
        config["auth"] = {
            "token": {"realm": token_realm, "service": SERVICE, "issuer": SERVICE, "rootcertbundle": authority}
        }
    if password:
        (folder / "htpasswd").write_text(f"{USER}:{BCRYPT}\n")
        config["auth"] = {"htpasswd": {"realm": "nuwrap tests", "path": str(folder / "htpasswd")}}
    (folder / "registry.yml").write_text(json.dumps(config))  # JSON is YAML
    log = folder / "registry.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, "serve", str(folder / "registry.yml")],
            env={"PATH": os.environ["PATH"], "OTEL_TRACES_EXPORTER": "none"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    address = _wait_for_address(process, log)
    user, word = (USER, PASSWORD) if password else ("", "")
    docker_config = write_docker_config(folder / "docker", {address: (user, word)} if password else {})
    return Running(address, ca, user, word, docker_config, log, process, client)


def _wait_for_address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text().splitlines():
            if "listening on " in line:
                return str(json.loads(line)["msg"]).split("listening on ")[1].split(",")[0]
        time.sleep(0.02)
    process.kill()
    process.wait()
    pytest.fail(f"docker-registry did not start: {log.read_text()[-2000:]}")


def make_token(folder: Path, repository: str, actions: Sequence[str]) -> str:
    """Return a token that the registry with its files in the folder takes: a JWT, signed by its authority's child."""
    key, certificate = folder / "signer.key", folder / "signer.pem"
    if not key.exists():
        _openssl(folder, "signer", "/CN=signer", "-CA", "authority.pem", "-CAkey", "authority.key", key="rsa:2048")
    chain = "".join(certificate.read_text().split("-----")[2].split())
    access = [{"type": "repository", "name": repository, "actions": list(actions)}]
    head = {"typ": "JWT", "alg": "RS256", "x5c": [chain]}
    until = int(time.time()) + 300
    claims = {"iss": SERVICE, "aud": SERVICE, "jti": "1", "nbf": 0, "iat": 0, "exp": until, "access": access}
    text = ".".join(_encode_url(json.dumps(one).encode()) for one in (head, claims))
    argv = [find_program("openssl", "the Debian package openssl"), "dgst", "-sha256", "-sign", str(key)]
    signature = subprocess.run(argv, input=text.encode(), capture_output=True, check=True).stdout
    return f"{text}.{_encode_url(signature)}"


def _encode_url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def write_docker_config(folder: Path, users: Mapping[str, tuple[str, str]], **more: Any) -> str:
    """Write a `config.json` as `docker login` does, and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    auths = {key: {"auth": encode(*pair)} for key, pair in users.items()}
    (folder / "config.json").write_text(json.dumps({"auths": auths, **more}))
    return str(folder)


def encode(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def find_program(name: str, comes_with: str) -> str:
    found = shutil.which(name)
    if not found:
        pytest.skip(f"needs {name} on PATH ({comes_with})")
    return found


def make_authority(folder: Path) -> str:
    """Make a certificate authority of the test's own; its PEM file is returned."""
    _openssl(
        folder, "authority", "/CN=authority of a nuwrap test",
        "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign",
    )  # fmt: skip
    return str(folder / "authority.pem")


def make_certificate(folder: Path, name: str, address: str = "127.0.0.1") -> tuple[str, str]:
    """Make a certificate for the address and localhost, signed by the folder's authority; returns it and its key."""
    _openssl(
        folder, name, f"/CN={name}", "-CA", "authority.pem", "-CAkey", "authority.key",
        "-addext", "basicConstraints=critical,CA:FALSE", "-addext", f"subjectAltName=DNS:localhost,IP:{address}",
        "-addext", "extendedKeyUsage=serverAuth,clientAuth",
    )  # fmt: skip
    return str(folder / f"{name}.pem"), str(folder / f"{name}.key")


def _openssl(folder: Path, name: str, subject: str, *more: str, key: str = "ec") -> None:
    program = find_program("openssl", "the Debian package openssl, 3.0 or later")
    curve = ["-pkeyopt", "ec_paramgen_curve:prime256v1"] if key == "ec" else []
    new = ["-newkey", key, *curve, "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.pem"]
    argv = [program, "req", "-x509", "-days", "2", "-subj", subject, *new, *more]
    done = subprocess.run(argv, cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def make_layer(files: Mapping[str, bytes | str | None]) -> bytes:
    """Return a tar of the files: bytes are content, `-> X` is a symbolic link, `=> X` a hard link, None a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            if content is None:
                member.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                member.type = tarfile.LNKTYPE if content.startswith("=> ") else tarfile.SYMTYPE
                member.linkname = content[3:]
            else:
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return buffer.getvalue()


def put_blob(running: Running, repository: str, data: bytes) -> str:
    digest = digest_of(data)
    headers, _ = running.call("POST", f"/v2/{repository}/blobs/uploads/", b"")
    place = headers["Location"]
    place += f"{'&' if '?' in place else '?'}digest={digest}"
    running.call("PUT", place, data, {"Content-Type": "application/octet-stream"})
    return digest


def put_manifest(running: Running, repository: str, name: str, media_type: str, document: Mapping[str, Any]) -> str:
    """Put the document in; an empty `name` means its digest."""
    data = json.dumps({"schemaVersion": 2, "mediaType": media_type, **document}).encode()
    place = f"/v2/{repository}/manifests/{name or digest_of(data)}"
    running.call("PUT", place, data, {"Content-Type": media_type})
    return digest_of(data)


def put_image(
    running: Running,
    repository: str,
    tag: str,
    layers: Sequence[bytes | Mapping[str, bytes | str | None]] = (),
    *,
    architecture: str = "amd64",
    config: Mapping[str, Any] | None = None,
    history: Sequence[str] = (),
) -> str:
    """Put an image in and return its digest. A layer is a blob as it is, or files to be packed with gzip."""
    blobs = [one if isinstance(one, bytes) else gzip.compress(make_layer(one), 1) for one in layers]
    described = []
    for blob in blobs:
        coding = {b"\x1f\x8b": "+gzip", b"\x28\xb5": "+zstd"}.get(blob[:2], "")
        described.append(
            {"mediaType": LAYER + coding, "digest": put_blob(running, repository, blob), "size": len(blob)}
        )
    image = {
        "architecture": architecture,
        "os": "linux",
        "config": dict(config or {}),
        "rootfs": {"type": "layers", "diff_ids": [digest_of(blob) for blob in blobs]},
        "history": [{"created_by": line} for line in history],
    }
    data = json.dumps(image).encode()
    about = {"mediaType": CONFIG, "digest": put_blob(running, repository, data), "size": len(data)}
    return put_manifest(running, repository, tag, MANIFEST, {"config": about, "layers": described})


def put_index(running: Running, repository: str, tag: str, images: Mapping[str, str]) -> str:
    """Put an index in: digests by `os/architecture[/variant]`."""
    manifests = []
    for platform, digest in images.items():
        system, architecture, *variant = platform.split("/")
        about = {"os": system, "architecture": architecture, **({"variant": variant[0]} if variant else {})}
        _, body = running.call("GET", f"/v2/{repository}/manifests/{digest}", None, {"Accept": MANIFEST})
        manifests.append({"mediaType": MANIFEST, "digest": digest, "size": len(body), "platform": about})
    return put_manifest(running, repository, tag, INDEX, {"manifests": manifests})
