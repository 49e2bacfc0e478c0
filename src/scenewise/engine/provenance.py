"""Which software made a result."""

import platform
import subprocess
from functools import cache
from pathlib import Path


def versions() -> dict[str, str]:
    """Versions that may change bits: Scenewise, torch, NumPy, Python and the kind of machine."""
    import numpy as np
    import torch

    import scenewise

    return {
        "scenewise": scenewise.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


@cache
def git_commit() -> str | None:
    """Commit of the checkout this package runs from, with ``+`` when files differ from it; None outside a checkout or without
    git.
    """
    here = Path(__file__).resolve().parent
    root = next((folder for folder in here.parents if (folder / ".git").exists()), None)
    if root is None:
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit + ("+" if _git(root, "status", "--porcelain", "--untracked-files=no", "--", "src") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()
