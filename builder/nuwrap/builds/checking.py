"""What was built, held against what was planned: labels, user, and no secret anywhere in configuration or history."""

from __future__ import annotations

from nuwrap.docker import inspect_image, why_unusable
from nuwrap.engines import Engine, Order, docker_images
from nuwrap.errors import BuildError, PlatformError
from nuwrap.registry.images import read_image
from nuwrap.spec.build import LABEL_CONTENT, RECORDS, BuildPlan, Built


def check_built(engine: Engine, order: Order, built: Built, plan: BuildPlan) -> list[str]:
    """Return the requirements that the image has, as its lock says them. Raises BuildError (`check`)."""
    found = engine.scan(order, built)
    if order.push:
        facts = read_image(built.pinned, order.settings.access, order.environ, has_files=False)
        if facts.labels.get(LABEL_CONTENT) != plan.content:
            raise BuildError(
                f"{built.pinned} in the registry is not what was built: another push came between", "check"
            )
    if found:
        places = "\n".join(f"  {one}" for one in found)
        raise BuildError(
            f"a secret's value stands in the image {built.reference}:\n{places}\nread the secret from "
            "/run/secrets/NAME in the instruction that needs it and write it nowhere; the image must not be used, and "
            "the secret should be changed",
            "check",
        )
    has_requirements = any(one.key == "requirements" for one in plan.steps)
    return read_lock(order, built) if has_requirements else []


def read_lock(order: Order, built: Built) -> list[str]:
    """Return the requirements with their hashes as the image's lock has them, [] where Docker does not have the image.

    An image that is in a registry alone has its lock too; its largest layer would have to be fetched for it.
    """
    image = built.image_id or built.reference
    try:
        has_image = not why_unusable(order.environ) and inspect_image(order.environ, image) is not None
        content = docker_images.read_file(order.environ, image, f"{RECORDS}/requirements.lock") if has_image else None
    except PlatformError:
        return []
    text = (content or b"").decode("utf-8", "replace").replace("\\\n", " ")
    return [" ".join(line.split()) for line in text.splitlines() if line.strip() and not line.startswith("#")]
