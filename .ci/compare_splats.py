"""Compares splats as our reader sees them with what another program made of the same file.

Usage: python compare_splats.py OURS.ply|OURS.spz THEIRS.csv|THEIRS.ply
"""

import csv
import sys
from pathlib import Path

import numpy as np

from scenewise.geometry.rotations import rotation_from_quat
from scenewise.io.ply.gaussians import read_gaussians_ply
from scenewise.io.ply.tables import read_ply_table
from scenewise.io.spz import read_spz
from scenewise.scenes.gaussians import Gaussians


def columns_of(gaussians: Gaussians) -> dict[str, np.ndarray]:
    """Our splats under the names of the PLY columns; rotations as matrices, since q and −q are the same rotation."""
    columns = {name: gaussians.means[:, axis] for axis, name in enumerate("xyz")}
    columns |= {f"scale_{axis}": gaussians.log_scales[:, axis] for axis in range(3)}
    columns |= {f"f_dc_{channel}": gaussians.sh0[:, 0, channel] for channel in range(3)}
    rest = gaussians.shN.shape[1]
    columns |= {f"f_rest_{channel * rest + k}": gaussians.shN[:, k, channel] for channel in range(3) for k in range(rest)}
    columns["opacity"] = gaussians.opacities
    columns |= _rotation_columns(gaussians.quats)
    return {name: values.double().numpy() for name, values in columns.items()}


def _rotation_columns(quats) -> dict:
    rotations = rotation_from_quat(quats.double())
    return {f"rotation_{row}{column}": rotations[:, row, column] for row in range(3) for column in range(3)}


def their_columns(path: Path) -> dict[str, np.ndarray]:
    """Columns of a file the other program wrote."""
    import torch

    if path.suffix == ".csv":
        with path.open(newline="") as file:
            rows = list(csv.reader(file))
        table = np.array(rows[1:], dtype=np.float64)
        columns = {name.strip(): table[:, index] for index, name in enumerate(rows[0])}
    else:
        columns = {name: values.astype(np.float64) for name, values in read_ply_table(path).columns.items()}
    columns["opacity"] = 1 / (1 + np.exp(-columns["opacity"]))
    quats = torch.from_numpy(np.stack([columns.pop(f"rot_{axis}") for axis in range(4)], axis=1))
    return columns | {name: values.numpy() for name, values in _rotation_columns(quats).items()}


def main(ours_path: Path, theirs_path: Path) -> int:
    """Prints the largest difference; returns 1 where it is too large, rows differ in number, or a column is missing."""
    ours = columns_of(read_spz(ours_path) if ours_path.suffix == ".spz" else read_gaussians_ply(ours_path))
    theirs = their_columns(theirs_path)
    count, their_count = len(ours["x"]), len(theirs["x"])
    if count != their_count:
        print(f"{ours_path.name} → {theirs_path.name}: we read {count} splats, the other program {their_count}", file=sys.stderr)
        return 1
    missing = sorted(set(ours) - set(theirs))
    if missing:
        print(f"{theirs_path.name}: no column {missing[0]}", file=sys.stderr)
        return 1
    worst = {
        name: float((np.abs(values - theirs[name]) / (1 + np.abs(values))).max(initial=0.0)) for name, values in ours.items()
    }
    name = max(worst, key=worst.__getitem__)
    # opacity 1 has no finite logit in .spz: each reader picks its own number just below
    limit = {"opacity": 2e-3}
    wrong = [name for name, difference in worst.items() if not difference <= limit.get(name, 2e-5)]
    pair = f"{ours_path.name} → {theirs_path.name}"
    print(f"{pair}: {count} splats, {len(ours)} columns, largest difference {worst[name]:.2g} ({name})")
    for name in wrong:
        print(f"  {name} differs by {worst[name]:.3g}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
