"""What a build is made of, as plain values: settings, what is known of images and code, the plan, what came of it.

Imports no model: the process that runs a build's supervisor has no third-party module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

ENGINES: Final = ("auto", "docker", "kaniko")
# Where things are in an image; `host/image.py` of the runtime knows the same places.
TREE = "/opt/nuwrap"
CODE = "/opt/function"
RECORDS = "/opt/nuwrap-image"  # launch.json, source.json, requirements.txt, requirements.lock
USER, GROUP = 8877, 999  # DigitalHub's (core, PythonRuntime.java)

# Labels that a built image carries. Those of OCI: opencontainers/image-spec annotations.md.
LABEL_SOURCE = "org.opencontainers.image.source"
LABEL_REVISION = "org.opencontainers.image.revision"
LABEL_BASE_NAME = "org.opencontainers.image.base.name"
LABEL_BASE_DIGEST = "org.opencontainers.image.base.digest"
LABEL_TITLE = "org.opencontainers.image.title"
LABEL_API = "dev.nuwrap.api"
LABEL_FEATURES = "dev.nuwrap.features"
LABEL_CONTENT = "dev.nuwrap.content"  # digest of all that went in: the tag too
LABEL_SPEC = "dev.nuwrap.spec"  # digest of function and task
LABEL_INPUTS = "dev.nuwrap.inputs"  # JSON: each input's digest by its name, for `nuwrap explain`
LABEL_PYTHON = "dev.nuwrap.python"  # 3.11
LABEL_RUNTIME = "dev.nuwrap.runtime"  # version of what is in /opt/nuwrap


@dataclass(frozen=True)
class RegistryAccess:
    """How registries are reached. Names of registries are `host[:port]`.

    `certificates` maps a registry to a PEM file of authorities, `client_certificates` to `(certificate, key)` files.
    `mirrors` are asked before Docker Hub, `map` says for a registry which others to ask first. `docker_config` is the
    folder with `config.json`, "" the user's own.
    """

    insecure: Sequence[str] = ()
    certificates: Mapping[str, str] = field(default_factory=dict)
    client_certificates: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    mirrors: Sequence[str] = ()
    map: Mapping[str, Sequence[str]] = field(default_factory=dict)
    docker_config: str = ""


@dataclass(frozen=True)
class BuildSettings:
    """What a user has set for all builds; see `nuwrap config`.

    `registry` gets what is built (`host/team`, "" for local tags alone), `images_registry` has nuwrap's own images.
    `allowed_base_images` are patterns as `python:3.*`, none allows every image. With `install_python` a base of glibc
    that has no Python gets one. `wheels` says when requirements are downloaded here and put into the context: `auto`
    where an index is named in the environment, `always`, `never`. `cluster` is a `BuildPlace` as a document, {} for a
    build on this machine.
    """

    engine: str = "auto"
    registry: str = ""
    images_registry: str = ""
    allowed_base_images: Sequence[str] = ()
    access: RegistryAccess = RegistryAccess()
    kaniko_image: str = ""
    kaniko_flags: Sequence[str] = ()
    cache_repo: str = ""
    retries: int = 3
    install_python: bool = False
    wheels: str = "auto"
    user: int = USER
    group: int = GROUP
    cluster: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Layer:
    """A layer as the registry has it: digest of the compressed blob, and its bytes."""

    digest: str
    bytes: int


BECOMING = ("/opt/nuwrap/bin/nuwrap-host", "exec", "--")  # of our image that becomes Nuclio's processor


@dataclass(frozen=True)
class ImageFacts:
    """What is known of an image without pulling it; "" is what could not be told.

    `reference` is as it was asked for, `pinned` names the same by digest (the image's own id where no registry has
    it). `python` is the minor version that `python3` has, `libc` is `glibc`, `musl` or "", `looked` tells whether its
    files were looked at, so that no Python means none.
    """

    reference: str
    pinned: str
    digest: str
    architecture: str = ""
    python: str = ""
    libc: str = ""
    user: str = ""
    looked: bool = False
    env: Mapping[str, str] = field(default_factory=dict)
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    history: Sequence[str] = ()
    layers: Sequence[Layer] = ()
    is_local: bool = False  # of the engine's own store, in no registry

    @property
    def becomes_another(self) -> bool:
        """Whether it is started as another program that nuwrap only prepares: Nuclio's processor."""
        return tuple(self.entrypoint) == BECOMING and bool(self.command)


@dataclass(frozen=True)
class SourceFacts:
    """The code that goes in: where it was got, its revision, and each file's digest (`sha256:…`) by relative path.

    `address` is without credentials. `folder` is where the files lie now, for who fills the context.
    """

    address: str
    revision: str
    files: Mapping[str, str]
    folder: str = ""
    default_module: str = "main"
    is_executable: frozenset[str] = frozenset()


@dataclass(frozen=True)
class BuildFacts:
    """All that a plan needs to know of the world. `runtime` is the image with `/opt/nuwrap` alone, None where the base
    has it already.
    """

    base: ImageFacts
    source: SourceFacts
    runtime: ImageFacts | None = None


@dataclass(frozen=True)
class ContextFile:
    """A file of the build's context: its text, or where it is copied from."""

    path: str
    text: str | None = None
    copied_from: str = ""
    is_executable: bool = False


@dataclass(frozen=True)
class Step:
    """A line of the Dockerfile that an engine carries out. `key` is the input that it stands for: `base`, `runtime`,
    `instruction 1`, `requirements`, `code`.
    """

    key: str
    text: str


@dataclass(frozen=True)
class BuildPlan:
    """An image before it is built; the same plan makes the same image.

    `name` is the repository without a tag, `tag` the content's digest, shortened. `build_args` are values of `ARG`
    lines. `secrets` are names that the steps mount. `inputs` are digests by name, what `nuwrap explain` compares.
    """

    dockerfile: str
    steps: Sequence[Step]
    files: Sequence[ContextFile]
    labels: Mapping[str, str]
    name: str
    tag: str
    content: str
    inputs: Mapping[str, str]
    build_args: Mapping[str, str] = field(default_factory=dict)
    secrets: Sequence[str] = ()
    notes: Sequence[str] = ()

    @property
    def reference(self) -> str:
        """`name:tag`."""
        return f"{self.name}:{self.tag}"


@dataclass(frozen=True)
class Event:
    """Something that happened in a build, for a person who waits and for the record.

    `kind` is `step` (a step begins), `done` (it ended, after `seconds`, from the `cache` or not), `push`, `note`.
    `number` of `total` count the plan's steps, from 1.
    """

    kind: str
    text: str
    number: int = 0
    total: int = 0
    seconds: float | None = None
    cache: bool | None = None


@dataclass(frozen=True)
class Built:
    """An image that was built. `digest` is the registry's, "" when it was not pushed; `image_id` the engine's."""

    reference: str
    digest: str = ""
    image_id: str = ""
    pushed_bytes: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def pinned(self) -> str:
        """The image by digest where a registry has it, else by tag."""
        name, _, last = self.reference.rpartition("/")
        return f"{name}{'/' if name else ''}{last.partition(':')[0]}@{self.digest}" if self.digest else self.reference
