"""The report's part about blocks: the partition from above, figures of each block, the worst seams."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scenewise.errors import ScenewiseError
from scenewise.io.images import read_image
from scenewise.methods.momentum_gs.assembly import CITY_FILE, MAP_FILE
from scenewise.methods.momentum_gs.merging import CITY_FOLDER
from scenewise.scenes.sections import Block, Definitions, Notes, Picture, Pictures, ReportMaterial, Section, Table

_TITLE = "Blocks"
_COLUMNS = {
    "block": "block",
    "cameras": "cameras",
    "anchors": "anchors",
    "behind": "anchors behind it",
    "gaussians": "Gaussians",
    "psnr": "PSNR in training, dB",
    "merged_psnr": "merged, dB",
    "baked_psnr": "baked, dB",
    "settled_psnr": "settled, dB",
}


def city_sections(material: ReportMaterial) -> list[Section]:
    """Map, table and seams; nothing where the scene was not trained in blocks.  What cannot be shown becomes a warning."""
    path = material.folder / CITY_FOLDER / CITY_FILE
    if not path.exists():
        return []
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        table = Table([{title: row.get(name) for name, title in _COLUMNS.items()} for row in found["blocks"]])
        facts = Definitions({name: found[key] for key, name in _FACTS.items() if found.get(key) is not None})
        said = [Notes(tuple(map(str, found["said"])))] if found["said"] else []
        seams = _seams(material.folder, found["worst_seams"])
        picture = Picture("the partition", read_image(material.folder / CITY_FOLDER / MAP_FILE))
        plan = Pictures("From above", "each block in its colour, cameras as dots", (picture,))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ScenewiseError) as error:
        return [Section(_TITLE, warnings=(f"Blocks are not shown: {error}",))]
    ratio = found.get("seam_ratio")
    figures = {} if ratio is None else {"error at cuts / elsewhere": f"{ratio:.2f}"}
    return [Section(_TITLE, (plan, table, facts, *said, *seams), figures=figures)]


_FACTS = {
    "decoded_psnr": "held-out views, anchors decoded for each, dB",
    "splats_psnr": "held-out views, the scene's Gaussians, dB",
    "decoded_seam_ratio": "error near the cuts over error elsewhere, decoded",
    "seam_ratio": "error near the cuts over error elsewhere, Gaussians",
    "seam_jumps": "difference of two blocks' pictures where they meet",
    "coarse_anchors": "anchors of the coarse model",
    "seconds": "seconds of training",
}


def _seams(folder: Path, pictures: Mapping[str, Any]) -> list[Block]:
    """A row for each view: the view with its cuts, and its errors."""
    rows: dict[str, list[Picture]] = {}
    for name, place in pictures.items():
        view, _, kind = name.rpartition(" ")
        rows.setdefault(view, []).append(Picture(kind, read_image(folder / str(place)), f"{kind} of {view}"))
    return [
        Pictures(f"Worst seams: {view}", "cuts marked; errors five times as bright", tuple(row)) for view, row in rows.items()
    ]
