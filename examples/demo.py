"""`make demo`: one real job, from a tagged git repository to a table and a picture; then one real service.

Makes the repository from examples/delays/src, then runs the same commands that you would type.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from nuwrap.platforms.interpreters import SUPPORTED, find_interpreters

HERE = Path(__file__).resolve().parent
DEMO = HERE.parent / ".demo"
CARRIERS = {
    "9E": "Endeavor Air Inc.",
    "AA": "American Airlines Inc.",
    "B6": "JetBlue Airways",
    "DL": "Delta Air Lines Inc.",
    "EV": "ExpressJet Airlines Inc.",
    "HA": "Hawaiian Airlines Inc.",
    "MQ": "Envoy Air",
    "UA": "United Air Lines Inc.",
    "US": "US Airways Inc.",
    "VX": "Virgin America",
}
DEADLINE_SECONDS = 60  # of the whole service, from its start to its end
GREET = """
def greet(name: str, times: int = 1):
    \"\"\"Greet somebody, as often as asked.\"\"\"
    return {"greeting": " ".join([f"hello {name}"] * times)}
"""


def main() -> int:
    """Return 0 when both went well, else the first exit code that is not 0."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell has it ignored, and its own
    began = time.monotonic()
    code = run_job()
    print(f"\ndemo: a job in {time.monotonic() - began:.1f} s, exit code {code}\n")
    began = time.monotonic()
    served = serve_and_call()
    print(f"\ndemo: a service in {time.monotonic() - began:.1f} s, exit code {served}")
    return code or served


def run_job() -> int:
    repository = make_repository(DEMO / "repository")
    function = DEMO / "function.yaml"
    text = (HERE / "delays" / "function.yaml").read_text(encoding="utf-8")
    text = text.replace("code_src: src", f"code_src: git+file://{repository}#v1").replace(
        "PYTHON3_11", python_version()
    )
    function.write_text(text, encoding="utf-8")
    table = HERE / "delays" / "data" / "flights.csv"
    options = ["-p", "threshold=0.5", "-i", f"table={os.path.relpath(table)}"]
    options += ["--init-param", f"carriers={json.dumps(CARRIERS)}"]
    program = show_command(["nuwrap", "run", os.path.relpath(function), *options])
    return subprocess.run(program, check=False).returncode


def python_version() -> str:
    """Return the running version, else the newest that is here, as a function asks for it: `PYTHON3_11`."""
    found = "{}.{}".format(*sys.version_info)
    if found not in SUPPORTED:
        versions = [one.version for one in find_interpreters(os.environ)]
        found = versions[-1] if versions else SUPPORTED[-1]
    return "PYTHON" + found.replace(".", "_")


def make_repository(folder: Path) -> Path:
    """Make a repository of the example's code with the tag v1."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(HERE / "delays" / "src", folder, ignore=shutil.ignore_patterns("__pycache__"))
    identity = ["-c", "user.name=demo", "-c", "user.email=demo@localhost", "-c", "commit.gpgsign=false"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "Add the delays function"]):
        subprocess.run(["git", *identity, *command], cwd=folder, check=True)
    subprocess.run(["git", *identity, "tag", "v1"], cwd=folder, check=True)
    return folder


def show_command(command: list[str]) -> list[str]:
    """Show the command as one would type it and return it with the program's path."""
    shown = [shlex.quote(part) if len(part) < 80 else shlex.quote(part[:40]) + "…" for part in command]
    print("$ " + " ".join(shown), flush=True)
    return [str(Path(sys.executable).with_name(command[0])), *command[1:]]


def serve_and_call() -> int:
    """Serve a function whose code stands in its file, call it, stop it; 0 when all of that went well."""
    function = DEMO / "greet.yaml"
    head = f"name: greet\nkind: python\npython_version: {python_version()}\nhandler: greet\ncode: |\n"
    function.write_text(head + "".join(f"  {line}\n" for line in GREET.strip().splitlines()), encoding="utf-8")
    program = show_command(["nuwrap", "serve", os.path.relpath(function), "--port", "0", "--admin-port", "0", "--json"])
    out, err = DEMO / "serve.out", DEMO / "serve.err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr)
    try:
        return call_and_stop(process, out, time.monotonic() + DEADLINE_SECONDS)
    except (OSError, ValueError, LookupError, RuntimeError, HTTPException, subprocess.TimeoutExpired) as exc:
        print(f"demo: the service failed: {exc!r}; what it said:\n{err.read_text(encoding='utf-8')}")
        return process.poll() or 1
    finally:
        end(process)


def call_and_stop(process: subprocess.Popen[bytes], out: Path, deadline: float) -> int:
    address, admin = wait_until_ready(process, out, deadline)
    print(f"ready on {address}, docs {admin}/docs, metrics {admin}/metrics")
    greeted = [
        call(f"{address}/?name=query&times=2", None, deadline),
        call(address, {"name": "JSON body", "times": 1}, deadline),
    ]
    process.send_signal(signal.SIGINT)
    code = process.wait(left(deadline))
    print(f"stopped as Ctrl-C does: exit code {code}")
    if greeted != ["hello query hello query", "hello JSON body"]:
        raise RuntimeError(f"it answered {greeted}")
    if code:
        raise RuntimeError(f"it ended with exit code {code}")
    return 0


def wait_until_ready(process: subprocess.Popen[bytes], out: Path, deadline: float) -> tuple[str, str]:
    """Return the addresses of the service and of its second port once /ready answers 200."""
    while True:
        time.sleep(min(0.05, left(deadline)))
        if process.poll() is not None:
            raise RuntimeError(f"it ended with exit code {process.returncode} before it was ready")
        line, is_whole, _ = out.read_bytes().partition(b"\n")
        if is_whole:
            listening = json.loads(line)
            try:
                with opened(f"{listening['admin']}/ready", None, deadline):
                    return listening["address"], listening["admin"]
            except OSError:  # 503: it is not ready yet
                continue


def call(url: str, value: object, deadline: float) -> str:
    """Call the function, a POST of JSON when there is a value, show status and answer, and return the greeting."""
    body = None if value is None else json.dumps(value).encode()
    more = [] if body is None else ["-H", "Content-Type: application/json", "-d", body.decode()]
    print("$ " + shlex.join(["curl", url, *more]))
    with opened(url, body, deadline) as answer:
        text = answer.read()
        print(f"{answer.status} {text.decode()}")
    return str(json.loads(text)["greeting"])


def opened(url: str, body: bytes | None, deadline: float) -> HTTPResponse:
    """Return the answer; OSError for another status than 200. A proxy has no part in what is on this machine."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"} if body else {})  # noqa: S310
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return opener.open(request, timeout=left(deadline))  # type: ignore[no-any-return]


def left(deadline: float) -> float:
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise RuntimeError(f"it took more than {DEADLINE_SECONDS} s")
    return seconds


def end(process: subprocess.Popen[bytes]) -> None:
    """Leave nothing running: a stop, then one that waits for nothing, then the hard way."""
    for stop, seconds in ((process.terminate, 10), (process.terminate, 10), (process.kill, None)):
        if process.poll() is None:
            stop()
            with suppress(subprocess.TimeoutExpired):
                process.wait(seconds)


if __name__ == "__main__":
    sys.exit(main())
