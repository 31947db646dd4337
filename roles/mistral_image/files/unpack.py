# Writes the files that come as JSON (name: text) on standard input into the folder given as argument.
from __future__ import annotations

import json
import pathlib
import sys

for name, text in json.load(sys.stdin).items():
    path = pathlib.Path(sys.argv[1], name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")
    path.chmod(0o755 if text.startswith("#!") else 0o644)
