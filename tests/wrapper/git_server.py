"""Real repositories and a real server over `git http-backend`, in this process: dumb, redirecting, mute."""

from __future__ import annotations

import base64
import os
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable, Optional
from urllib.parse import unquote, urlsplit

from nuwrap_runtime.host.sources import Checkout, Source, fetch

MAIN = "def main():\n    return 1\n"
WHEN = "1700000000 +0000"


def git(folder: Path, *arguments: str, stdin: str = "") -> str:
    """Run git without any of this machine's configuration; return its output."""
    environ = {
        "PATH": os.environ["PATH"],
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ALLOW_PROTOCOL": "file:http",
    }
    for role in ("AUTHOR", "COMMITTER"):
        environ.update({f"GIT_{role}_NAME": "a", f"GIT_{role}_EMAIL": "a@b.c", f"GIT_{role}_DATE": WHEN})
    command = ["git", "-c", "init.defaultBranch=main", *arguments]
    done = subprocess.run(command, cwd=folder, env=environ, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"git {arguments}: {done.stderr}"
    return done.stdout.strip()


def make_repository(folder: Path, *, init: tuple[str, ...] = ()) -> Path:
    """Make a repository with one commit that has main.py and pkg/mod.py."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q", *init)
    commit(folder, {"main.py": MAIN, "pkg/mod.py": "def f():\n    return 'mod'\n"})
    return folder


def commit(folder: Path, files: dict[str, str], message: str = "change") -> str:
    """Write the files, commit everything, return the commit."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", message)
    return git(folder, "rev-parse", "HEAD")


def fetch_to(into: Path, location: str, environ: Optional[dict[str, str]] = None, **options: Any) -> Checkout:
    """Fetch as the host does, with a home of its own that has no configuration; `into` is made."""
    into.mkdir()
    home = into.with_name(into.name + "-home")
    home.mkdir(exist_ok=True)
    whole = {"PATH": os.environ["PATH"], "HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1", **(environ or {})}
    scheme = location.partition("://")[0]
    return fetch(Source(scheme, location, **options), str(into), whole)


def names_in(folder: Path) -> list[str]:
    """List the files and links below the folder, relative and sorted."""
    found = [Path(path, name) for path, folders, files in os.walk(folder) for name in folders + files]
    return sorted(str(path.relative_to(folder)) for path in found if path.is_symlink() or not path.is_dir())


class GitServer(ThreadingHTTPServer):
    """Serves the repositories below `root` at `url` until the `with` block ends.

    `seen` has (path, Authorization) of each request. `login` is wanted with every request. `dumb` serves plain files.
    `redirect` is an address that every request is sent to. `is_telltale` refuses with the login in its reason.
    `is_old` speaks protocol 0 only, which hands out no commit that it does not list. `is_mute` never answers; `asked`
    is set by a first request, `gone` when its client has left.
    """

    daemon_threads = True

    def __init__(
        self,
        root: Path,
        *,
        login: str = "",
        dumb: bool = False,
        redirect: str = "",
        is_old: bool = False,
        is_mute: bool = False,
        is_telltale: bool = False,
        tls: Optional[Path] = None,
        on_request: Callable[[str], None] = lambda _path: None,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root, self.login, self.dumb, self.redirect = root, login, dumb, redirect
        self.is_old, self.is_mute, self.is_telltale, self.on_request = is_old, is_mute, is_telltale, on_request
        self.seen: list[tuple[str, Optional[str]]] = []
        self.asked, self.gone = threading.Event(), threading.Event()
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(str(tls))
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.server_address[1]}"
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> GitServer:  # noqa: PYI034 - Self is not in 3.9's typing
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def logins(self) -> set[str]:
        """Every `user:password` that a client has sent."""
        sent = {header for _path, header in self.seen if header}
        return {base64.b64decode(header.split(" ", 1)[1]).decode() for header in sent}

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that leave early are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: GitServer

    def do_GET(self) -> None:
        server, parts = self.server, urlsplit(self.path)
        server.seen.append((self.path, self.headers.get("Authorization")))
        server.on_request(self.path)
        server.asked.set()
        if server.is_mute:
            self.connection.recv(1)
            server.gone.set()
        elif server.redirect:
            self._answer(302, b"", Location=server.redirect + self.path)
        elif server.login and self.headers.get("Authorization") != _basic(server.login):
            self._answer(401, b"", **{"WWW-Authenticate": 'Basic realm="git"'})
        elif server.is_telltale:
            header = self.headers["Authorization"]
            reason = f"no access for {' '.join(server.logins())} ({header})"
            self._answer(403, reason.encode(), **{"Content-Type": "text/plain"})
        elif server.dumb:
            self._serve_file(server.root / unquote(parts.path).lstrip("/"))
        else:
            self._serve_backend(unquote(parts.path), parts.query)

    do_POST = do_GET

    def _serve_file(self, path: Path) -> None:
        if path.is_file():
            self._answer(200, path.read_bytes())
        else:
            self._answer(404, b"")

    def _serve_backend(self, path: str, query: str) -> None:
        length = self.headers.get("Content-Length") or "0"
        environ = {
            "PATH": os.environ["PATH"],
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": length,
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
        }
        if not self.server.is_old:
            environ["GIT_PROTOCOL"] = self.headers.get("Git-Protocol", "")
        body = self.rfile.read(int(length))
        done = subprocess.run(["git", "http-backend"], env=environ, input=body, capture_output=True, check=False)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
        self._answer(int(headers.pop("Status", "200").split()[0]), content, **headers)

    def _answer(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() != "content-length":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


def _basic(login: str) -> str:
    return "Basic " + base64.b64encode(login.encode()).decode()
