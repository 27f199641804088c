"""Programs in a container that runs, as `kubectl exec` starts them."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Final

from nuwrap.cluster.errors import ClusterError
from nuwrap.cluster.login import Login
from nuwrap.cluster.sockets import Channel, open_socket

# Channels: 0 standard input, 1 output, 2 errors, 3 the end as a Status, 255 closes another (v5 of the protocol).
PROTOCOL: Final = "v5.channel.k8s.io"
STDIN, STDOUT, STDERR, STATUS, CLOSE = 0, 1, 2, 3, 255
DRAIN_S: Final = 2.0  # what was printed before the end may come after it
BLOCK_BYTES: Final = 64 * 1024
ANSWER_BYTES: Final = 64 * 1024 * 1024


def execute(
    login: Login, path: str, argv: Sequence[str], *, container: str, stdin: IO[bytes] | None
) -> tuple[int, bytes, bytes]:
    """Run the program; see `Cluster.exec`. Raises ClusterError."""
    query = [("command", one) for one in argv] + [("stdout", "true"), ("stderr", "true")]
    query += [("container", container)] if container else []
    query += [("stdin", "true")] if stdin is not None else []
    channel = open_socket(login, path, query, PROTOCOL)
    said = {STDOUT: bytearray(), STDERR: bytearray(), STATUS: bytearray()}
    try:
        if stdin is not None:  # beside the reading: a program that answers while it reads would block both
            threading.Thread(target=_give, args=(channel, stdin), daemon=True).start()
        while message := channel.receive():
            if message[0] in said:
                said[message[0]] += message[1:]
            if message[0] == STATUS:  # with input that nobody reads, the server does not close the connection
                channel.limit(DRAIN_S)
            if sum(map(len, said.values())) > ANSWER_BYTES:
                raise ClusterError(f"{argv[0]!r} in the pod has printed more than {ANSWER_BYTES} bytes")
    finally:
        channel.close()
    return _exit_code(bytes(said[STATUS]), argv[0]), bytes(said[STDOUT]), bytes(said[STDERR])


def _give(channel: Channel, stdin: IO[bytes]) -> None:
    with suppress(OSError):  # the program has ended without reading all
        while block := stdin.read(BLOCK_BYTES):
            channel.send(bytes([STDIN]) + block)
        channel.send(bytes([CLOSE, STDIN]))


def _exit_code(status: bytes, program: str) -> int:
    try:
        found = json.loads(status)
    except ValueError as exc:
        raise ClusterError(f"the connection to {program!r} in the pod was cut before its end") from exc
    if found.get("status") == "Success":
        return 0
    causes = (found.get("details") or {}).get("causes") or ()
    code = next((one["message"] for one in causes if one.get("reason") == "ExitCode"), "")
    if not code.isdigit():
        raise ClusterError(f"{program!r} cannot be run in the pod: {found.get('message', '')}")
    return int(code)
