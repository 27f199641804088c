"""What was built, held against what was planned: labels, user, and no secret anywhere in configuration or history."""

from __future__ import annotations

from nuwrap.engines import Engine, Order
from nuwrap.errors import BuildError
from nuwrap.registry.images import read_image
from nuwrap.spec.build import LABEL_CONTENT, BuildPlan, Built


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
    return []
