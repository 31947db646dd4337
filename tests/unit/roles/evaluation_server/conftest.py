"""Makes the evaluation engine's package importable; it lives among the files of the role that builds its image."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "roles" / "mistral_image" / "files" / "evaluation"))
