"""What a user has set for all projects: `config.json` of the home folder."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from nuwrap.errors import SpecError, StoreError, UsageError
from nuwrap.spec.build import ENGINES, GROUP, USER, BuildSettings, RegistryAccess
from nuwrap.spec.claims import FORM, is_in_claim, parse_claim
from nuwrap.store.home import make_folder
from nuwrap.store.network import faults as network_faults
from nuwrap.store.private import open_folder, read_file, say_why, write_whole
from nuwrap_runtime.schema import did_you_mean, show

FILE_NAME: Final = "config.json"
FILE_BYTES: Final = 1024**2
_FORMS: Final = {
    "text": "text",
    "list": "a list of texts",
    "pairs": "a mapping of names to text",
    "count": "a whole number, 0 or more",
    "flag": "true or false",
}


@dataclass(frozen=True)
class Setting:
    """A setting: what it may be, its default, its meaning, and the only values it has, if they can be told.

    On the command line a `list` is written `a,b`, `pairs` as `a=1,b=2`.
    """

    form: Literal["text", "list", "pairs", "count", "flag"]
    default: Any
    meaning: str
    choices: tuple[str, ...] = ()


SETTINGS: Final[Mapping[str, Setting]] = {
    "platform": Setting("text", "local", "where a run goes that names no platform"),
    "build.engine": Setting("text", "auto", "what builds images", ENGINES),
    "build.registry": Setting("text", "", "host and folder that get the images built, as registry.example/team"),
    "build.cache_repo": Setting("text", "", "repository for layers that other machines may use again"),
    "build.retries": Setting("count", 3, "how often a pull or a push is tried again"),
    "build.user": Setting("count", USER, "user id of an image's process"),
    "build.group": Setting("count", GROUP, "group id of an image's process"),
    "build.install_python": Setting("flag", default=False, meaning="install Python into a base image that has none"),
    "build.wheels": Setting(
        "text", "auto", "whether requirements are downloaded here before a build", ("auto", "always", "never")
    ),
    "build.kaniko_image": Setting("text", "", "image of kaniko's executor"),
    "build.kaniko_flags": Setting("list", (), "further flags for kaniko, as --compressed-caching=false"),
    "images.registry": Setting("text", "", "host and folder that have nuwrap's own images"),
    "artifacts_store": Setting(
        "text",
        "",
        "where a cluster's runs keep outputs, and get code and inputs that are large: s3://bucket/folder; "
        "outputs alone: pvc://claim/folder",
    ),
    "kubernetes.context": Setting("text", "", "context of the kubeconfig; its current one by default"),
    "kubernetes.namespace": Setting(
        "text", "", "namespace of runs, as team or nuwrap-{project}; the context's own by default"
    ),
    "kubernetes.build_namespace": Setting(
        "text", "", "namespace of builds, where kaniko may be root; that of runs by default"
    ),
    "kubernetes.push_secret": Setting("text", "", "Secret with the log-ins by which builds pull and push"),
    "kubernetes.service_account": Setting("text", "", "service account of runs; it gets no token"),
    "kubernetes.pull_secrets": Setting("list", (), "names of Secrets with registries' log-ins"),
    "kubernetes.profiles": Setting("text", "", "where an administrator keeps profiles: a folder, or configmap:NAME"),
    "kubernetes.send_secrets": Setting(
        "flag", default=False, meaning="send secrets and source credentials of this machine that the cluster lacks"
    ),
    "kubernetes.storage_class": Setting("text", "", "class of claims that name none; the cluster's own by default"),
    "kubernetes.cache_claim": Setting("text", "", "claim that keeps environments and sources for further runs"),
    "kubernetes.deadline_s": Setting("count", 259200, "longest time of a job, its wait for a node included; 0 is none"),
    "kubernetes.pending_timeout_s": Setting(
        "count", 900, "how long a run may wait for a node or an image before it is given up; 0 is for ever"
    ),
    "kubernetes.keep_finished_s": Setting(
        "count", 86400, "how long a job stays in the cluster after its log and result are here"
    ),
    "network.index": Setting("list", (), "package indexes, the first asked first, as https://index.example/simple"),
    "network.ca": Setting(
        "text", "", "file of the certificates that runs trust, in place of those that their image or system has"
    ),
    "network.proxies": Setting("pairs", {}, "proxies, as http=URL,https=URL,no=.example;10.0.0.0/8 (all=URL too)"),
    "allowed_base_images": Setting("list", (), "patterns of images that may be built on, as python:3.*"),
    "registries.docker_config": Setting("text", "", "folder with Docker's config.json, which has the log-ins"),
    "registries.insecure": Setting("list", (), "registries without TLS, as host:port"),
    "registries.certificates": Setting("pairs", {}, "authorities of a registry, as host=ca.pem"),
    "registries.client_certificates": Setting("pairs", {}, "certificate and key for one, as host=cert.pem:key.pem"),
    "registries.mirrors": Setting("list", (), "registries that are asked before Docker Hub"),
    "registries.map": Setting("pairs", {}, "a registry that is asked in another's place, as docker.io=mirror.example"),
}


@dataclass(frozen=True)
class Config:
    """The settings by name; those that nobody has set have their defaults."""

    values: Mapping[str, Any]

    @property
    def platform(self) -> str:
        """Where a run goes that names no platform; checked where it is used."""
        return str(self.values["platform"])

    @property
    def build(self) -> BuildSettings:
        """What counts for all builds. Raises UsageError for a certificate without a key."""
        one = self.values
        access = RegistryAccess(
            insecure=tuple(one["registries.insecure"]),
            certificates=dict(one["registries.certificates"]),
            client_certificates={name: _split_pair(name, text) for name, text in _clients(one).items()},
            mirrors=tuple(one["registries.mirrors"]),
            map={name: tuple(text.split(";")) for name, text in one["registries.map"].items()},
            docker_config=one["registries.docker_config"],
        )
        names = (
            "engine",
            "registry",
            "cache_repo",
            "retries",
            "user",
            "group",
            "install_python",
            "wheels",
            "kaniko_image",
        )
        return BuildSettings(
            **{name: one[f"build.{name}"] for name in names},
            kaniko_flags=tuple(one["build.kaniko_flags"]),
            images_registry=one["images.registry"],
            allowed_base_images=tuple(one["allowed_base_images"]),
            access=access,
        )


def read_config(home: str) -> Config:
    """Return the settings; without a file the defaults. Raises UsageError with all faults of the file, StoreError."""
    return Config({**{name: one.default for name, one in SETTINGS.items()}, **_read(home)})


def write_config(home: str, name: str, text: str) -> None:
    """Set one setting, as it is written on the command line; "" puts one back that may be empty.

    Raises UsageError for one that does not exist or a wrong value, StoreError.
    """
    value = _parse_value(name, text)
    faults = _faults(name, value)
    if faults:
        raise UsageError(faults[0])
    document = {**_read(home), name: value}
    if not text:
        del document[name]
    make_folder(os.path.abspath(home))
    path = _path(home)
    try:
        with open_folder(os.path.dirname(path)) as folder:
            write_whole(folder, os.path.basename(path), json.dumps(document, indent=1).encode() + b"\n")
    except OSError as exc:
        raise StoreError(f"cannot write {path!r}: {say_why(exc)}") from exc


def _read(home: str) -> dict[str, Any]:
    """Return what the file says."""
    path = _path(home)
    try:
        with open_folder(os.path.dirname(path)) as folder:
            content = read_file(folder, os.path.basename(path), FILE_BYTES)
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise StoreError(f"cannot read {path!r}: {say_why(exc)}") from exc
    document = _parse(content, path)
    faults = [fault for name, value in document.items() for fault in _faults(name, value)]
    if faults:
        raise UsageError(f"{path!r} is not valid:\n" + "\n".join(f"  {line}" for line in faults))
    return document


def _path(home: str) -> str:
    """Return where the file lies, be it by a link: people keep such files in a repository of their own."""
    return os.path.realpath(os.path.join(home, FILE_NAME))


def _parse(content: bytes, path: str) -> dict[str, Any]:
    try:
        document = json.loads(content, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as exc:
        raise UsageError(f"{path!r} is not JSON: {exc}; mend it, or remove it to have the defaults") from exc
    if not isinstance(document, dict):
        raise UsageError(f"{path!r} is not a JSON object: {show(document)}; remove it to have the defaults")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(map(repr, twice))} is given twice")
    return dict(pairs)


def _parse_value(name: str, text: str) -> Any:
    """Return the value that a person wrote; one that does not read as its form stays text, which is a fault then."""
    form = SETTINGS[name].form if name in SETTINGS else "text"
    parts = [one.strip() for one in text.split(",") if one.strip()]
    if form == "list":
        return parts
    if form == "pairs":
        pairs = [one.partition("=") for one in parts]
        return {key.strip(): value.strip() for key, _, value in pairs} if all(map(all, pairs)) else text
    if form == "count" and text.isascii() and text.isdigit():
        return int(text)
    if form == "flag" and text in ("true", "false"):
        return text == "true"
    return text


def _faults(name: str, value: Any) -> list[str]:
    if name not in SETTINGS:
        known = list(SETTINGS)
        return [f"{show(name)}: unknown setting{did_you_mean(name, known)}; allowed: {', '.join(known)}"]
    setting = SETTINGS[name]
    if not _fits(setting, value):
        return [f"{name}: {show(value)} is not allowed; allowed: {_FORMS[setting.form]}"]
    if name == "artifacts_store" and value and not _is_store(value):
        return [f"{name}: {show(value)} is not allowed; allowed: s3://BUCKET, s3://BUCKET/FOLDER, {FORM}"]
    if setting.choices and value not in setting.choices:
        near = did_you_mean(value, list(setting.choices))
        return [f"{name}: {show(value)} is not allowed; allowed: {', '.join(setting.choices)}{near}"]
    return network_faults(name, value) if name.startswith("network.") else []


def _fits(setting: Setting, value: Any) -> bool:
    if setting.form == "text":
        return _is_line(value) and bool(value.strip() or not setting.default)
    if setting.form == "list":
        return isinstance(value, list) and all(_is_line(one) and one.strip() for one in value)
    if setting.form == "pairs":
        return isinstance(value, dict) and all(_is_line(one) and one.strip() for one in value.values())
    if setting.form == "flag":
        return isinstance(value, bool)
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_store(address: str) -> bool:
    if not is_in_claim(address):
        return re.fullmatch(r"s3://[^/\s?#]+(/[^\s?#]*)?", address) is not None
    try:
        parse_claim(address)
    except SpecError:
        return False
    return True


def _is_line(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable()


def _clients(values: Mapping[str, Any]) -> Mapping[str, str]:
    found: Mapping[str, str] = values["registries.client_certificates"]
    return found


def _split_pair(name: str, text: str) -> tuple[str, str]:
    certificate, colon, key = text.partition(":")
    if not (certificate and colon and key):
        raise UsageError(
            f"registries.client_certificates: {show(text)} of {show(name)} is no pair; allowed: cert.pem:key.pem"
        )
    return certificate, key
