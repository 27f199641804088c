"""The host's first file when it runs isolated: the standard library, this package and the tree, nothing else."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    _tree = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), *[os.pardir] * 3))
    sys.path += [os.path.join(_tree, "worker"), os.path.join(_tree, "host")]
    from nuwrap_runtime.host.cli import main

    sys.exit(main(sys.argv[1:]))
