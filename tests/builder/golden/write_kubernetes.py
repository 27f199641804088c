"""Write the golden manifests anew: `python tests/builder/golden/write_kubernetes.py`; look at what git says changed."""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))

from cluster_plans import PLANS, build_job, manifests  # noqa: E402

from nuwrap.spec.document import dump_document  # noqa: E402

if __name__ == "__main__":
    for name in PLANS:
        text = "---\n".join(dump_document(one) for one in manifests(name))
        (FOLDER / "kubernetes" / f"{name}.yaml").write_text(text, encoding="utf-8")
    (FOLDER / "kubernetes" / "build.yaml").write_text(dump_document(build_job()), encoding="utf-8")
