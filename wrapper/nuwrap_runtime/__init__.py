"""What a function author may import: `handler` and the entities. Importing it loads nothing else of nuwrap."""

from __future__ import annotations

__version__ = "0.1.0"
