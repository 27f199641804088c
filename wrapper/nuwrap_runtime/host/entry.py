"""The host's first file when it runs isolated: the standard library, this package and the tree, nothing else."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    _tree = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), *[os.pardir] * 3))
    _abi = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    sys.path += [os.path.join(_tree, name) for name in ("worker", "host", os.path.join("abi", _abi))]
    from nuwrap_runtime.host.cli import main

    sys.exit(main(sys.argv[1:]))
