"""Writes ``tests/golden/*.json`` anew: ``make golden``.  Look at the difference before committing it, and say why it changed."""

import json
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from tests.golden.producers import GOLDEN

from scenewise import __version__
from scenewise.kernels.native import library

FOLDER = Path(__file__).parent


def main() -> int:
    """Regenerate every file and show what moved."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=FOLDER, capture_output=True, text=True, check=False)
    for name, golden in GOLDEN.items():
        path = FOLDER / f"{name}.json"
        before = json.loads(path.read_text(encoding="utf-8"))["figures"] if path.exists() else {}
        figures = dict(golden.produce())
        record = {
            "figures": figures,
            "tolerance": golden.tolerance,
            "reason": golden.reason,
            "produced": {
                "command": "make golden",
                "commit": commit.stdout.strip() or None,
                "date": datetime.now(UTC).date().isoformat(),
                "machine": platform.machine(),
                "native": library.describe().variant,
                "versions": {"scenewise": __version__, "torch": torch.__version__, "numpy": np.__version__},
            },
        }
        path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        moved = [f"{key}: {before.get(key)} → {value}" for key, value in figures.items() if before.get(key) != value]
        print(f"{name}: {'unchanged' if not moved else '; '.join(moved)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
