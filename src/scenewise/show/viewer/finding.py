"""Places that answer a question, among what is shown."""

from dataclasses import replace

import numpy as np

from scenewise.errors import ShapeError
from scenewise.parts.words.answers import LEAST_OPACITY, AnswerSegment, adaptive_threshold, answer_segments
from scenewise.scenes.heats import Heat
from scenewise.show.colors import NEUTRAL_HEAT
from scenewise.show.viewer.contents import Contents

_MAX_PLACES = 3


def require_fitting(heat: Heat, contents: Contents) -> None:
    """Raises ShapeError unless the heat has a number for every splat and point of the scene's files."""
    for what, elements in contents.elements.items():
        values = heat.splats if what == "splats" else heat.points
        if values is not None and len(values) != elements.total:
            fix = "the features belong to another file; run scenewise segment again"
            raise ShapeError(f"heat of the {what}", expected=f"{elements.total:,} numbers", got=f"{len(values):,}", fix=fix)


def best_places(heat: Heat, contents: Contents) -> tuple[AnswerSegment, ...]:
    """The best places among what is shown, as ``scenewise query`` finds them; none that fits no better than the rest."""
    for what, elements in contents.elements.items():
        values = heat.splats if what == "splats" else heat.points
        if values is None or not len(elements):
            continue
        shown = np.nan_to_num(values[elements.rows], nan=0.0)
        if what == "splats":
            shown[contents.shapes.opacities < LEAST_OPACITY] = 0.0
        found = answer_segments(
            elements.positions + contents.origin,
            shown,
            threshold=max(adaptive_threshold(shown), float(np.nextafter(np.float32(NEUTRAL_HEAT), np.float32(1.0)))),
            objects=None if elements.labels is None else elements.labels.instance_ids,
            up_in_world=contents.up.astype(np.float64),
            limit=_MAX_PLACES,
        )
        return tuple(replace(segment, elements=elements.rows[segment.elements]) for segment in found)
    return ()
