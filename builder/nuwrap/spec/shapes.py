"""The shapes inside a run's values: environment variables, volumes, amounts, where pods may stand.

The rules are Kubernetes' own where it sets them (its API reference, `core/v1`), and DigitalHub's names.
"""

from __future__ import annotations

import posixpath
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_serializer,
    model_validator,
)

from nuwrap.spec.model import Shape, quote, said
from nuwrap.spec.quantities import as_text, count_bytes, count_gpus, quantity
from nuwrap_runtime.schema import is_text

LABEL = r"^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$"
LABEL_FORM = "lower-case letters, digits and '-', 63 at most; the first and the last a letter or digit"
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
LABEL_KEY = rf"^(?:[a-z0-9](?:[-.a-z0-9]{{0,251}}[a-z0-9])?/)?{_PART}$"
LABEL_KEY_FORM = "a label's key, as 'disktype' or 'example.com/zone'"
LABEL_VALUE = rf"^(?:{_PART})?$"
LABEL_VALUE_FORM = "letters, digits, '.', '_' and '-', 63 at most, or ''"

ENV_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"
RESERVED_ENVS = ("PROJECT_NAME", "RUN_ID")
RESERVED_PREFIX = "NUWRAP_"

VolumeType = Literal["persistent_volume_claim", "ephemeral", "empty_dir", "shared_volume", "image"]
VOLUME_KEYS = {
    "persistent_volume_claim": {"size", "storage_class"},
    "ephemeral": {"size", "storage_class"},
    "empty_dir": {"size_limit", "medium"},
    "shared_volume": {"claim_name"},
    "image": {"image", "sub_path"},
}
CLAIM_CHARACTERS = 23  # the claim is named v-<run's id>-<name>, 62 characters at most (core, K8sBuilderHelper.java)
RESERVED_VOLUMES = ("shared-dir", "init-config-map")
# Nothing may be mounted at, above or below the first; at or above the second. DigitalHub's places and our own.
_CLOSED = (
    "/etc/passwd", "/init-config-map", "/opt/function", "/opt/nuclio", "/opt/nuwrap", "/proc", "/run/nuwrap-claims",
    "/run/secrets", "/sys",
)  # fmt: skip
_KEPT = ("/bin", "/dev", "/etc", "/lib", "/shared", "/usr", "/work")


def _check_size(text: str) -> str:
    if not count_bytes(text):
        raise ValueError(f"{quote(text)} is no size")
    return text


_NUMBER_OR_TEXT = {"type": ["string", "number"]}
Size = Annotated[str, BeforeValidator(as_text), AfterValidator(_check_size), WithJsonSchema(_NUMBER_OR_TEXT)]


class Env(Shape):
    """An environment variable; with `persist` it stays in the image that is built."""

    name: str = said("name of the variable", "letters, digits and '_', no digit first", ..., pattern=ENV_NAME)
    value: str = said("its value", "text; write a number in quotes", ...)
    persist: bool = said("keep it in the image, for every container of it", "true or false", default=False)

    @field_validator("name")
    @classmethod
    def _check_reserved(cls, value: str) -> str:
        if value in RESERVED_ENVS or value.startswith(RESERVED_PREFIX):
            raise ValueError(f"{quote(value)} is reserved, nuwrap sets it; name the variable differently")
        return value

    @field_validator("value")
    @classmethod
    def _check_value(cls, value: str) -> str:
        if "\0" in value or not is_text(value):
            raise ValueError(f"{quote(value)} is not text that an environment can hold")
        return value


class NodeSelector(Shape):
    """A label that a node must have."""

    key: str = said("key of the label", LABEL_KEY_FORM, ..., pattern=LABEL_KEY)
    value: str = said("value of the label", LABEL_VALUE_FORM, ..., pattern=LABEL_VALUE)


class Toleration(Shape):
    """A taint of a node that does not keep the pod away."""

    key: str = said("key of the taint; every taint without one", LABEL_KEY_FORM, "", pattern=f"{LABEL_KEY}|^$")
    operator: Literal["Exists", "Equal"] = said("how key and value are compared", "Exists, Equal", "Equal")
    value: str = said("value of the taint", LABEL_VALUE_FORM, "", pattern=LABEL_VALUE)
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = said(
        "which effect is tolerated; every one without", "NoSchedule, PreferNoSchedule, NoExecute, ''", ""
    )
    toleration_seconds: int | None = said("how long a NoExecute taint is borne", "a whole number of seconds")

    @model_validator(mode="after")
    def _check_together(self) -> Toleration:
        if self.operator == "Exists" and self.value:
            raise ValueError("operator Exists has no value; leave the value out, or use Equal")
        if not self.key and self.operator != "Exists":
            raise ValueError("has no key; only operator Exists goes without one")
        if self.toleration_seconds is not None and self.effect != "NoExecute":
            raise ValueError("toleration_seconds goes with effect NoExecute alone")
        return self


class VolumeSpec(Shape):
    """What a volume is made of; which keys it may have depends on its type."""

    size: Size | None = said("how much is asked for; 2Gi by default", "a size, as '10Gi'")
    storage_class: str | None = said(
        "class of the storage", "a name", pattern=r"^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$"
    )
    size_limit: Size | None = said("most that it may hold", "a size, as '1Gi'")
    medium: Literal["", "Memory"] | None = said("Memory keeps it in memory", "Memory, ''")
    claim_name: str | None = said(
        "claim that is there already; the volume's name by default", LABEL_FORM, pattern=LABEL
    )
    image: str | None = said("image whose files are mounted", "a container image", pattern=r"^[^\s]+$")
    sub_path: str | None = said("folder of the image", "a relative path without '..'", pattern=r"^[^/\x00][^\x00]*$")

    @field_validator("sub_path")
    @classmethod
    def _check_sub_path(cls, value: str | None) -> str | None:
        if value and ".." in value.split("/"):
            raise ValueError(f"'..' is refused in {quote(value)}")
        return value


class Volume(Shape):
    """A place of the container's file system that is more than the image."""

    volume_type: VolumeType = said("what it is", ", ".join(VOLUME_KEYS), ...)
    name: str = said("name of the volume, once in a run", LABEL_FORM, ..., pattern=LABEL)
    mount_path: str = said("where it is in the container, once in a run", "an absolute path without '..' and ':'", ...)
    spec: VolumeSpec = said("what it is made of, by type", "a mapping", VolumeSpec())

    @field_validator("volume_type", mode="before")
    @classmethod
    def _check_type(cls, value: Any) -> Any:
        if value in ("config_map", "secret"):
            raise ValueError(
                f"{quote(value)} is refused: a run mounts none of them; give values as `envs` or `secrets`"
            )
        return value

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str, info: ValidationInfo) -> str:
        if value in RESERVED_VOLUMES or value.startswith("nuwrap-"):
            raise ValueError(f"{quote(value)} is reserved; name the volume differently")
        if info.data.get("volume_type") == "persistent_volume_claim" and len(value) > CLAIM_CHARACTERS:
            raise ValueError(
                f"{quote(value)} has {len(value)} characters; allowed: {CLAIM_CHARACTERS} at most, as the claim is"
                " named v-<run's id>-<name>"
            )
        return value

    @field_validator("mount_path")
    @classmethod
    def _check_mount_path(cls, value: str) -> str:
        if not value.startswith("/") or ".." in value.split("/") or ":" in value or "\0" in value:
            raise ValueError(f"{quote(value)} is no absolute path" if value else "is empty")
        path = "/" + posixpath.normpath(value).lstrip("/")
        place = _reserved_place(path)
        if place:
            raise ValueError(f"{quote(value)} is reserved, it would hide {place!r}; allowed: any other, as '/data'")
        return path

    @field_validator("spec")
    @classmethod
    def _check_spec(cls, value: VolumeSpec, info: ValidationInfo) -> VolumeSpec:
        keys = VOLUME_KEYS.get(info.data.get("volume_type", ""), value.model_fields_set)
        foreign = sorted(value.model_fields_set - keys)
        if foreign:
            kind = info.data["volume_type"]
            raise ValueError(f"{', '.join(foreign)} does not go with {kind}; allowed: {', '.join(sorted(keys))}")
        return value

    @model_validator(mode="after")
    def _check_image(self) -> Volume:
        if self.volume_type == "image" and not self.spec.image:
            raise ValueError("spec.image is missing; allowed: a container image")
        return self


def _reserved_place(path: str) -> str:
    """Return the reserved place that a mount at the path would hide or change, "" when it does neither."""
    inside = (place for place in _CLOSED if path.startswith(f"{place}/"))
    hidden = (place for place in (*_CLOSED, *_KEPT) if path == place or place.startswith(path.rstrip("/") + "/"))
    return next(inside, "") or next(hidden, "")


class Amount(Shape):
    """How much is asked for, and the most that is given; a plain value is what is asked for."""

    requests: str | None = None
    limits: str | None = None

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        return {"anyOf": [_NUMBER_OR_TEXT, super().__get_pydantic_json_schema__(core_schema, handler)]}

    @classmethod
    def _number(cls, text: str) -> Decimal:
        return quantity(text)

    @model_validator(mode="before")
    @classmethod
    def _settle(cls, value: Any) -> Any:
        text = as_text(value)
        if isinstance(text, str):
            cls._number(text)
            return {"requests": text}
        return Shape._settle.__func__(cls, value)

    @field_validator("requests", "limits", mode="before")
    @classmethod
    def _check_amount(cls, value: Any) -> Any:
        text = as_text(value)
        if isinstance(text, str):
            cls._number(text)
        return text

    @model_validator(mode="after")
    def _check_order(self) -> Amount:
        if self.requests and self.limits and self._number(self.requests) > self._number(self.limits):
            raise ValueError(f"requests {self.requests!r} are more than limits {self.limits!r}")
        return self

    @model_serializer(mode="wrap")
    def _write(self, write: Any) -> Any:
        return self.requests if self.model_fields_set == {"requests"} else write(self)


class Memory(Amount):
    """Bytes, with a unit."""

    @classmethod
    def _number(cls, text: str) -> Decimal:
        return count_bytes(text)


class Gpus(Amount):
    """Whole GPUs; Kubernetes gives as many as are asked for, neither less nor more."""

    @classmethod
    def _number(cls, text: str) -> Decimal:
        return count_gpus(text)

    @model_validator(mode="after")
    def _check_same(self) -> Gpus:
        if self.requests and self.limits and self._number(self.requests) != self._number(self.limits):
            raise ValueError(f"requests {self.requests!r} and limits {self.limits!r} differ; GPUs are given whole")
        return self


class Resources(Shape):
    """What a pod asks for."""

    cpu: Amount | None = said("processor time", "cores, as 2, 0.5 or '500m', or {requests, limits} of them")
    mem: Memory | None = said("memory", "bytes with a unit, as '512Mi' or '1.5Gi', or {requests, limits} of them")
    gpu: Gpus | None = said("GPUs", "a whole number, or {requests, limits} of it")
    disk: Memory | None = said("size of the work folder", "bytes with a unit, as '10Gi', or {requests, limits} of them")

    def given(self) -> list[str]:
        """Return the names of what is asked for."""
        return [name for name in type(self).model_fields if getattr(self, name) is not None]
