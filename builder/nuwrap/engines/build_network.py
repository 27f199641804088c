"""The `network` block in a build: what of it the steps get, and how it stays out of the image.

The whole block is a mounted file, which `nuwrap-host install` reads as a secret of that name; proxies are the arguments
that BuildKit and kaniko know without an ARG line, and write into no history.
"""

from __future__ import annotations

import json
from typing import Final

from nuwrap.engines import Order

NETWORK: Final = "NUWRAP_NETWORK"


def network_file(order: Order) -> dict[str, str]:
    """Return the block as a secret: its name and text; nothing without one."""
    return {NETWORK: json.dumps(order.network)} if order.network else {}


def proxy_variables(order: Order) -> dict[str, str]:
    """Return the proxies as variables, in both cases; those of the build's own arguments are the user's."""
    found = {}
    for scheme, address in order.network.get("proxies", {}).items():
        found.update({f"{scheme.upper()}_PROXY": address, f"{scheme.lower()}_proxy": address})
    return {name: address for name, address in found.items() if name not in order.plan.build_args}
