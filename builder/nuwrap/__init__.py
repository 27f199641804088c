"""nuwrap: one Python function as a job, as a service and as an image. Importing it loads nothing else."""

from __future__ import annotations

__version__ = "0.1.0"
