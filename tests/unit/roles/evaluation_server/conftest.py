"""Makes the evaluation engine's package importable; it lives among the files of the role that builds its image."""

from __future__ import annotations
