"""Write the plans anew that `test_plan_build.py` compares with; look at the difference before it is committed.

.venv/bin/python tests/builder/golden/write.py
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from build_plans import BUILDS, GOLDEN, as_document

for name, build in BUILDS.items():
    plan = build.plan()
    (GOLDEN / f"{name}.Dockerfile").write_text(plan.dockerfile, "utf-8")
    (GOLDEN / f"{name}.json").write_text(as_document(plan), "utf-8")
