"""The service as other people's clients see it: wrk, curl and a real browser, where they are installed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Callable

import pytest
from running_service import RunningService

SECONDS = 120.0  # only for what would hang for ever


def program(*names: str, variable: str = "") -> str:
    """Return the first of these programs that is here; skip loudly when there is none."""
    given = os.environ.get(variable, "") if variable else ""
    found = given or next(filter(None, map(shutil.which, names)), "")
    if not found:
        pytest.skip(f"none of {', '.join(names)} is installed" + (f", and ${variable} is not set" if variable else ""))
    return found


def test_wrk_gets_an_answer_to_every_request(service: Callable[..., RunningService]) -> None:
    served = service("def f(context, event):\n    return 'hello'\n", serve={"workers": 2})
    argv = [program("wrk"), "-t2", "-c32", "-d2", f"http://127.0.0.1:{served.place[1]}/"]
    shown = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=SECONDS).stdout
    assert "Socket errors" not in shown, shown
    assert "Non-2xx" not in shown, shown
    found = re.search(r"(\d+) requests in", shown)
    assert found, shown
    assert int(found.group(1)) > 0
    assert served.metric("nuwrap_requests_total") >= int(found.group(1))


def test_curl_sends_and_gets_large_bodies(service: Callable[..., RunningService], tmp_path: Path) -> None:
    served = service("def f(context, event):\n    return event.body\n")
    sent, got = tmp_path / "sent", tmp_path / "got"
    sent.write_bytes(os.urandom(3_000_000))
    for extra in ([], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect: 100-continue"]):
        argv = [program("curl"), "-sS", "--fail", "--data-binary", f"@{sent}", "-o", str(got), *extra]
        argv += ["-H", "Content-Type: application/octet-stream", f"http://127.0.0.1:{served.place[1]}/"]
        subprocess.run(argv, check=True, timeout=SECONDS)
        assert got.read_bytes() == sent.read_bytes()


PAGE = r"""<!doctype html><title>fetch</title><script>
(async () => {
  const seen = {};
  const text = async (path, options) => { const a = await fetch(path, options); return [a.status, await a.text()]; };
  seen.get = await text("/text?name=browser");
  seen.post = await text("/json", {method: "POST", headers: {"Content-Type": "application/json"},
                                   body: JSON.stringify({a: [1, "\u00fc"]})});
  seen.large = (await (await fetch("/echo", {method: "PUT", body: new Uint8Array(500000)})).arrayBuffer()).byteLength;
  const stream = (await fetch("/stream")).body.getReader();
  seen.pieces = [];
  for (;;) { const {done, value} = await stream.read(); if (done) break; seen.pieces.push(value.length); }
  seen.events = await new Promise((done) => {
    const found = [], source = new EventSource("/events");
    source.onmessage = (one) => { found.push(one.data); if (found.length == 3) { source.close(); done(found); } };
  });
  try { await (await fetch("/broken")).text(); seen.broken = "whole"; } catch (error) { seen.broken = "broken"; }
  seen.head = (await fetch("/text", {method: "HEAD"})).headers.get("content-length");
  seen.many = (await Promise.all([...Array(20).keys()].map((n) => text("/text?name=" + n)))).map((one) => one[1]);
  await fetch("/report", {method: "POST", body: JSON.stringify(seen)});
})();
</script>"""
CODE = f"""
import time
PAGE = {PAGE!r}
def stream():
    for number in range(3):
        yield b"x" * 1000
        time.sleep(0.05)
def events():
    for number in range(1000):
        yield f"data: {{number}}\\n\\n"
        time.sleep(0.01)
def broken():
    yield b"begin"
    time.sleep(0.05)
    raise ValueError("on purpose")
def f(context, event):
    if event.path == "/":
        return context.Response(body=PAGE, content_type="text/html; charset=utf-8")
    if event.path == "/text":
        return "hello " + event.get_field("name", "")
    if event.path == "/json":
        return event.body
    if event.path == "/echo":
        return event.body
    if event.path == "/stream":
        return stream()
    if event.path == "/events":
        return context.Response(body=events(), content_type="text/event-stream")
    if event.path == "/broken":
        return broken()
    if event.path == "/report":
        with open(REPORT + ".part", "wb") as stream_:
            stream_.write(event.body)
        import os
        os.rename(REPORT + ".part", REPORT)
        return "thanks"
    return context.Response(status_code=404)
"""


def test_a_browser_fetches_sends_streams_and_sees_what_is_broken(
    service: Callable[..., RunningService], tmp_path: Path
) -> None:
    browser = program("chromium", "chromium-browser", "google-chrome", variable="NUWRAP_BROWSER")
    report = tmp_path / "report.json"
    served = service(f"REPORT = {str(report)!r}\n" + CODE, serve={"workers": 2})
    argv = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    argv += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    argv += ["--disable-dev-shm-usage", f"--user-data-dir={tmp_path / 'profile'}", "--remote-debugging-port=0"]
    with (tmp_path / "browser").open("wb") as out:
        process = subprocess.Popen(
            [*argv, f"http://127.0.0.1:{served.place[1]}/"], stdout=out, stderr=out, start_new_session=True
        )
    try:
        served.until(report.exists)
    finally:
        os.killpg(process.pid, 9)
        process.wait()
    seen = json.loads(report.read_text())
    assert seen["get"] == [200, "hello browser"]
    assert seen["post"] == [200, '{"a": [1, "\\u00fc"]}']
    assert seen["large"] == 500_000
    assert sum(seen["pieces"]) == 3000
    assert len(seen["pieces"]) > 1
    assert seen["events"] == ["0", "1", "2"]
    assert seen["broken"] == "broken"
    assert seen["head"] == "6"
    assert seen["many"] == [f"hello {number}" for number in range(20)]
