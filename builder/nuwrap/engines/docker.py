"""Docker with BuildKit, by its own client.

`docker build` with BuildKit chosen is one command for all clients: those before 23 have BuildKit built in, later ones
hand it to their buildx plugin with the daemon's own builder, which sees the images that only Docker has. Whoever wants
another builder names it by `BUILDX_BUILDER`, as with Docker itself.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from nuwrap.command import take_stops
from nuwrap.docker import ask, server_version, why_unusable
from nuwrap.engines import Availability, Order
from nuwrap.engines.build_network import network_file, proxy_variables
from nuwrap.engines.buildkit_log import BuildLog
from nuwrap.engines.docker_archive import write_layout
from nuwrap.engines.docker_client import Client, base_environ
from nuwrap.engines.docker_images import read_local
from nuwrap.engines.docker_push import push
from nuwrap.engines.failures import Place, classify
from nuwrap.engines.secret_files import private_folder, write_secrets
from nuwrap.engines.secret_scan import find_secrets
from nuwrap.errors import BuildError
from nuwrap.spec.build import BuildSettings, Built, Event

HAS_SECRETS: Final = True
TAG_CHARACTERS: Final = 128
# What Docker says of a step in its cache whose layer it has removed (seen after a prune, 20.10): each further build of
# that step ends so, until one without the cache.
LOST_LAYER: Final = "layer does not exist"


def look(settings: BuildSettings, environ: Mapping[str, str], *, push: bool) -> Availability:
    """Tell whether client and daemon answer, with BuildKit."""
    del push  # it can
    folder = settings.access.docker_config
    reason = why_unusable(base_environ(environ, folder))
    if reason and folder and not why_unusable(environ):
        reason = f"{reason}; what is missing in {folder!r} is in ~/.docker/cli-plugins: link that folder there"
    if reason:
        return Availability(is_usable=False, reason=reason)
    version = server_version(environ)
    return Availability(is_usable=True, reason=f"Docker {version} answers, with BuildKit", version=version)


def build(order: Order, *, report: Callable[[Event], None]) -> Built:
    """Build the image, then write and push it; see `Engine.build`. What was built stays in Docker's store."""
    with take_stops() as stops, private_folder(order.environ) as folder:
        client = Client(order, stops)
        driver = _driver(client)
        for text in _unused(order, driver):
            report(Event("note", text))
        image_id = _build(client, order, folder, driver, report)
        built = Built(order.destinations[0], image_id=image_id)
        _refuse_secrets(order, built)
        _write_files(client, order)
        return _push_all(client, order, built, report) if order.push else built


def scan(order: Order, built: Built) -> list[str]:
    """List where configuration and history of the image have a secret's value; see `Engine.scan`."""
    if not order.secrets:
        return []
    facts = read_local(
        base_environ(order.environ, order.settings.access.docker_config),
        built.image_id or built.reference,
        has_files=False,
    )
    if not facts:
        raise BuildError(f"{built.reference} is not in Docker's store any more: it cannot be checked", "check")
    return find_secrets(facts, order.secrets)


def _build(client: Client, order: Order, folder: str, driver: str, report: Callable[[Event], None]) -> str:
    id_file = os.path.join(folder, "id")
    block = network_file(order)
    secrets = write_secrets(folder, [*order.plan.secrets, *block], {**order.secrets, **block})
    log, code = _run(client, order, _arguments(order, id_file, secrets, driver), report)
    if code and order.has_cache and LOST_LAYER in "\n".join(log.last_lines):
        report(Event("note", "Docker's cache has lost a layer that it says to have: once more, without the cache"))
        anew = replace(order, has_cache=False)
        log, code = _run(client, anew, _arguments(anew, id_file, secrets, driver), report)
    if code:
        raise classify(log.last_lines, code, place=log.place)
    with open(id_file, encoding="ascii") as file:
        return file.read().strip()


def _run(client: Client, order: Order, args: Sequence[str], report: Callable[[Event], None]) -> tuple[BuildLog, int]:
    log = BuildLog(order.plan.steps, report)
    code = client.run(args, log.feed, where=lambda: (log.last_lines, log.place))
    log.end()
    return log, code


def _arguments(order: Order, id_file: str, secrets: Mapping[str, str], driver: str) -> list[str]:
    """Return the arguments of the build; values of build arguments are in the client's environment."""
    args = ["build", "--progress=plain", "--file", order.dockerfile, "--iidfile", id_file]
    args += [part for one in order.destinations for part in ("--tag", one)]
    args += [part for name in order.plan.build_args for part in ("--build-arg", name)]
    args += [part for name, path in secrets.items() for part in ("--secret", f"id={name},src={path}")]
    args += [part for name, value in proxy_variables(order).items() for part in ("--build-arg", f"{name}={value}")]
    if not order.has_cache:
        args.append("--no-cache")
    if _exports(driver):
        args += ["--load", *_cache_arguments(order)]
    return [*args, order.context]


def _cache_arguments(order: Order) -> list[str]:
    """Return what keeps the steps in a registry, each image's by a tag of its own."""
    if not order.settings.cache_repo:
        return []
    tag = order.plan.name.rpartition("/")[2][:TAG_CHARACTERS]
    where = f"type=registry,ref={order.settings.cache_repo}:{tag}"
    return ["--cache-from", where, "--cache-to", f"{where},mode=max,ignore-error=true"]


def _driver(client: Client) -> str:
    """Return the kind of builder that the user has named, `docker` for the daemon's own. Raises BuildError."""
    name = client.environ.get("BUILDX_BUILDER", "")
    if not name:
        return "docker"
    answer = ask(client.environ, ["buildx", "inspect", name])
    lines = answer.output.decode("utf-8", "replace").splitlines()
    found = next((line.partition(":")[2].strip() for line in lines if line.startswith("Driver:")), "")
    if not found:
        raise BuildError(f"BUILDX_BUILDER={name!r} is no builder of `docker buildx ls`; unset it, or correct it")
    return found


def _exports(driver: str) -> bool:
    return driver != "docker"


def _unused(order: Order, driver: str) -> list[str]:
    """Return a sentence for each setting that Docker takes no notice of."""
    found = []
    settings, access = order.settings, order.settings.access
    if settings.cache_repo and not _exports(driver):
        found.append(
            "cache_repo is not used: Docker's own builder keeps its cache itself; "
            "one of another driver, named by BUILDX_BUILDER, can use it"
        )
    if _exports(driver):
        found.append(f"a builder of driver {driver} builds: it does not see images that only Docker has")
    if access.mirrors or access.map:
        found.append("mirrors of registries are not used: Docker's daemon has its own, `registry-mirrors`")
    if access.certificates or access.client_certificates:
        found.append("certificates are not used: Docker's daemon reads /etc/docker/certs.d/HOST")
    if settings.kaniko_flags:
        found.append("kaniko_flags are not used: this is Docker")
    return found


def _refuse_secrets(order: Order, built: Built) -> None:
    """Raise BuildError when a secret stands in what the image tells of itself, before anybody else can have it."""
    found = scan(order, built) if order.push else []
    if found:
        places = "\n".join(f"  {one}" for one in found)
        raise BuildError(
            f"a secret's value stands in the image {built.reference}, which was not pushed:\n{places}\n"
            "read the secret from /run/secrets/NAME in the instruction that needs it, and write it nowhere",
            "check",
        )


def _write_files(client: Client, order: Order) -> None:
    if order.tar_path:
        _save(client, order, order.tar_path)
    if order.oci_path and order.tar_path:
        write_layout(order.tar_path, order.oci_path, name=order.destinations[0])
    elif order.oci_path:
        with _folder_beside(order.oci_path) as folder:  # an image has no place in memory
            archive = os.path.join(folder, "image.tar")
            _save(client, order, archive)
            write_layout(archive, order.oci_path, name=order.destinations[0])


@contextmanager
def _folder_beside(path: str) -> Iterator[str]:
    """Give a folder on the same disk. Raises BuildError when none can be made."""
    try:
        folder = tempfile.mkdtemp(prefix=".nuwrap-", dir=os.path.dirname(os.path.abspath(path)))
    except OSError as exc:
        raise BuildError(f"the image cannot be written to {path!r}: {exc.strerror}") from exc
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _save(client: Client, order: Order, path: str) -> None:
    """Write the image as `docker load` takes it, under all its names."""
    lines: list[str] = []
    code = client.run(
        ["save", "--output", path, *order.destinations],
        lambda data: lines.append(data.decode("utf-8", "replace").strip()),
        where=lambda: (lines, Place()),
    )
    if code:
        raise classify(lines, code)


def _push_all(client: Client, order: Order, built: Built, report: Callable[[Event], None]) -> Built:
    digests: dict[str, str] = {}
    counts: list[int | None] = []
    for reference in order.destinations:
        digests[reference], count = push(client, reference, order.settings, report)
        counts.append(count)
    known = [one for one in counts if one is not None]
    total = sum(known) if len(known) == len(counts) else None
    return Built(built.reference, digests[built.reference], built.image_id, total, {"digests": digests})
