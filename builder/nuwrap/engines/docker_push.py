"""`docker push`: what it says of layers and digest, and how many bytes went out."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from nuwrap.docker import ask, inspect_image
from nuwrap.engines.docker_client import Client
from nuwrap.engines.failures import LINES, Place, classify
from nuwrap.errors import BuildError, PlatformError
from nuwrap.spec.build import BuildSettings, Event

FIRST_WAIT_SECONDS: Final = 1.0
_LAYER: Final = re.compile(r"([0-9a-f]{12}): (Pushed|Layer already exists|Mounted from .*)")
_DIGEST: Final = re.compile(r"digest: (sha256:[0-9a-f]{64})")


@dataclass
class PushLog:
    """What a push has printed: the layers that went out, by the first 12 characters of their id, and the digest."""

    sent: set[str] = field(default_factory=set)
    digest: str = ""
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=LINES))
    rest: bytes = b""

    def feed(self, data: bytes) -> None:
        """Take what was printed; a line counts when it is whole."""
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self._take(line.decode("utf-8", "replace").strip())

    def end(self) -> None:
        """Take the last line though it has no end."""
        self.feed(b"\n")

    def _take(self, line: str) -> None:
        if not line:
            return
        self.lines.append(line)
        layer = _LAYER.fullmatch(line)
        if layer and layer[2] == "Pushed":
            self.sent.add(layer[1])
        found = _DIGEST.search(line)
        self.digest = found[1] if found else self.digest


def push(
    client: Client, reference: str, settings: BuildSettings, report: Callable[[Event], None]
) -> tuple[str, int | None]:
    """Push an image and return its digest and the bytes of its layers that went out, None when they are not known.

    A registry that does not answer is asked again, `settings.retries` times. Raises BuildError.
    """
    report(Event("push", f"pushing {reference}"))
    wait_s = FIRST_WAIT_SECONDS
    for left in range(settings.retries, -1, -1):
        log, error = _try_push(client, reference)
        if not error:
            break
        if error.kind != "push" or not left:
            raise error
        report(Event("note", f"the push of {reference} is tried again in {wait_s:g} s: {log.lines[-1]}"))
        client.wait(wait_s)
        wait_s *= 2
    digest = log.digest or _known_digest(client, reference)
    report(Event("push", f"pushed {reference} as {digest}"))
    return digest, pushed_bytes(client, reference, digest, log, settings)


def _try_push(client: Client, reference: str) -> tuple[PushLog, BuildError | None]:
    log = PushLog()
    place = Place(phase="push", subject=reference)
    code = client.run(["push", reference], log.feed, where=lambda: (list(log.lines), place))
    log.end()
    return log, classify(list(log.lines), code, place=place) if code else None


def _known_digest(client: Client, reference: str) -> str:
    """Return the digest that Docker keeps of an image in this registry. Raises BuildError without one."""
    name = _repository(reference)
    for one in (inspect_image(client.environ, reference) or {}).get("RepoDigests") or ():
        if one.startswith(f"{name}@"):
            return str(one.partition("@")[2])
    raise BuildError(f"Docker does not tell by which digest it has pushed {reference}", "push")


def pushed_bytes(client: Client, reference: str, digest: str, log: PushLog, settings: BuildSettings) -> int | None:
    """Return the bytes of the layers that went out, None when the registry does not tell what they have."""
    if not log.sent:
        return 0
    try:
        sizes = _layer_sizes(client, reference, digest, settings)
    except (PlatformError, ValueError, KeyError, TypeError):
        return None  # a figure for people alone: the image is there
    known = [sizes.get(one) for one in log.sent]
    return None if None in known else sum(one for one in known if one is not None)


def _layer_sizes(client: Client, reference: str, digest: str, settings: BuildSettings) -> dict[str, int]:
    """Return the compressed bytes of each layer, by the short forms of its digest and of its content's."""
    name = _repository(reference)
    host = name.partition("/")[0]
    is_insecure = host in settings.access.insecure or host.rpartition(":")[0] in ("127.0.0.1", "localhost")
    answer = ask(client.environ, ["manifest", "inspect", *(["--insecure"] if is_insecure else []), f"{name}@{digest}"])
    layers = json.loads(answer.output)["layers"] if answer.returncode == 0 else []
    contents = (inspect_image(client.environ, reference) or {})["RootFS"]["Layers"]
    sizes = {layer["digest"][7:19]: layer["size"] for layer in layers}
    if len(contents) == len(layers):
        sizes |= {content[7:19]: layer["size"] for content, layer in zip(contents, layers, strict=True)}
    return sizes


def _repository(reference: str) -> str:
    name, _, last = reference.rpartition("/")
    last = last.partition("@")[0].partition(":")[0]
    return f"{name}/{last}" if name else last
