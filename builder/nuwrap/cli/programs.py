"""Programs and places beside nuwrap: whether they are there and answer, and what it means when not."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from nuwrap.command import Command, run
from nuwrap.errors import PlatformError
from nuwrap.spec.images import PYTHON
from nuwrap_runtime import __version__

ANSWER_SECONDS: Final = 5.0
CONNECT_SECONDS: Final = 2.0
# How a system installs what it calls by the program's own name.
MANAGERS: Final = {
    "apt-get": "sudo apt-get install",
    "dnf": "sudo dnf install",
    "apk": "sudo apk add",
    "pacman": "sudo pacman -S",
    "brew": "brew install",
}
ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "S3_ENDPOINT_URL", "AWS_ENDPOINT_URL")  # the first that is set
PORTS: Final = {"http": 80, "https": 443}
ROLES: Final = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)


@dataclass(frozen=True)
class Finding:
    """What was looked for and `found`; with a `lack`, what that means and what to type. `is_needed` by every run."""

    name: str
    found: str
    lack: str = ""
    mend: str = ""
    is_needed: bool = False


def uv(path: str) -> Finding:
    """Say whether there is the installer that the host would take."""
    if path:
        return Finding("uv", f"{_answer([path, '--version']) or 'uv'}, {path}")
    lack = "requirements are installed by pip, which takes longer"
    return Finding("uv", "", lack, f"{os.path.basename(sys.executable)} -m pip install uv")


def uv_command(path: str, arguments: str) -> str:
    """Return how to type a command of uv's, which may lie beside our interpreter alone."""
    return f"uv {arguments}" if shutil.which("uv") or not path else f"{path} {arguments}"


def git() -> Finding:
    """Say whether git is there and answers."""
    found = _answer(["git", "--version"])
    if found:
        return Finding("git", found)
    return Finding("git", "", "code from git+… addresses cannot be fetched", _install("git"))


def docker() -> Finding:
    """Say whether there is a Docker that answers, and not its client alone."""
    lack = "no images can be built or run here; jobs and services of this machine need none"
    if not shutil.which("docker"):
        return Finding("docker", "", lack, _install("docker"))
    found = _answer(["docker", "version", "--format", "{{.Server.Version}}"])
    if found:
        return Finding("docker", found)
    mend = "sudo systemctl start docker" if shutil.which("systemctl") else "start Docker, then `docker version`"
    return Finding("docker", "the client alone: Docker does not answer", lack, mend)


def images(registry: str) -> Finding:
    """Say where nuwrap's own images are: in the registry that is set, else those that Docker has."""
    if registry:
        return Finding("nuwrap's images", f"in {registry}")
    path = shutil.which("docker")
    tags = _answer([path, "image", "ls", "--format", "{{.Tag}}", PYTHON], lines=100) if path else ""
    versions = sorted({tag.rpartition("-")[2] for tag in tags.split() if tag.startswith(f"{__version__}-")}, key=_parts)
    if versions:
        return Finding("nuwrap's images", f"Docker has those of Python {', '.join(versions)}")
    lack = "no function is built or runs in a container; jobs and services of this machine need none"
    return Finding("nuwrap's images", "", lack, "make build-images, in a checkout of nuwrap")


def _parts(version: str) -> list[int]:
    return [int(part) if part.isdigit() else 0 for part in version.split(".")]


def kubectl() -> Finding:
    """Say whether kubectl is there and which cluster it speaks to; the cluster is not asked."""
    lack = "no cluster can be reached; jobs and services of this machine need none"
    if not shutil.which("kubectl"):
        return Finding("kubectl", "", lack, _install("kubectl"))
    found = _answer(["kubectl", "config", "current-context"])
    if found:
        return Finding("kubectl", f"context {found}")
    return Finding("kubectl", "no cluster is chosen", lack, "kubectl config use-context NAME")


def s3(environ: Mapping[str, str]) -> Finding:
    """Say whose account is used at S3 and whether an endpoint of one's own can be reached; no value is told."""
    endpoint = next((environ[name] for name in ENDPOINTS if environ.get(name)), "")
    fault = _connect_fault(endpoint) if endpoint else ""
    server = f" at {_server(endpoint)}" if endpoint else ""
    account = _account(environ)
    if fault:
        return Finding("S3", account, f"s3:// addresses cannot be read{server}: {fault}", "see AWS_ENDPOINT_URL")
    if account:
        return Finding("S3", account + server)
    lack = f"of s3:// addresses{server}, only public ones can be read"
    return Finding("S3", "", lack, "export AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=…, or AWS_PROFILE=…")


def _account(environ: Mapping[str, str]) -> str:
    """Return where credentials come from, "" for none: botocore's order, the source's own account first."""
    for prefix in ("NUWRAP_SOURCE_", ""):
        if environ.get(f"{prefix}AWS_ACCESS_KEY_ID") and environ.get(f"{prefix}AWS_SECRET_ACCESS_KEY"):
            return f"{prefix}AWS_ACCESS_KEY_ID"
        if environ.get(f"{prefix}AWS_PROFILE"):
            return f"{prefix}AWS_PROFILE"
    role = next((name for name in ROLES if environ.get(name)), "")
    folder = os.path.join(environ.get("HOME", ""), ".aws")
    file = environ.get("AWS_SHARED_CREDENTIALS_FILE") or os.path.join(folder, "credentials")
    return role or (file if os.path.isfile(file) else "")


def _connect_fault(endpoint: str) -> str:
    """Return why nobody answers at the endpoint, "" when somebody does."""
    try:
        parts = urlsplit(endpoint)
        port = parts.port or PORTS[parts.scheme]
        with socket.create_connection((parts.hostname or "", port), timeout=CONNECT_SECONDS):
            return ""
    except KeyError:
        return "the endpoint is no http:// or https:// address"
    except (OSError, ValueError) as exc:
        return getattr(exc, "strerror", None) or str(exc)


def _server(endpoint: str) -> str:
    """Return host and port alone: before them a login may stand."""
    return endpoint.partition("://")[2].partition("/")[0].rpartition("@")[2]


def _answer(argv: list[str], *, lines: int = 1) -> str:
    """Return the first lines that the program prints, "" when it is not there, fails or takes too long."""
    path = shutil.which(argv[0])
    if not path:
        return ""
    try:
        done = run(Command([path, *argv[1:]], os.environ), timeout_s=ANSWER_SECONDS)
    except PlatformError:
        return ""
    told = done.output.decode("utf-8", "replace").splitlines()[:lines]
    return "\n".join(line.strip() for line in told) if not done.returncode else ""


def _install(name: str) -> str:
    manager = next((command for program, command in MANAGERS.items() if shutil.which(program)), "install")
    return f"{manager} {name}"
