"""Which colour every splat and point gets, and which are shown at all."""

from dataclasses import dataclass, replace
from typing import Literal, assert_never, get_args

import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8

from scenewise.errors import ConventionError
from scenewise.scenes.labels import ElementLabels
from scenewise.show.colors import Palette, class_colors, confidence_colors, dimmed, heat_over_scene, shown_heat, u8
from scenewise.show.viewer.contents import Elements

Mode = Literal["color", "classes", "confidence", "heat"]
MODES: tuple[Mode, ...] = get_args(Mode)


@dataclass(frozen=True)
class Look:
    """What a person chose to see.

    Attributes:
        mode: what the colours mean.
        hidden_classes: class ids that are not shown; −1 = what is unknown.
        min_confidence: below it an element counts as unknown.
        cut_height: what lies higher is not shown, in world units along the up direction from the origin; None shows all.
    """

    mode: Mode = "color"
    hidden_classes: frozenset[int] = frozenset()
    min_confidence: float = 0.0
    cut_height: float | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ConventionError("mode", expected=" or ".join(MODES), got=repr(self.mode))

    def toggled(self, class_id: int) -> "Look":
        """The same look with one class shown instead of hidden, or hidden instead of shown."""
        return replace(self, hidden_classes=self.hidden_classes ^ {class_id})


def painted(elements: Elements, palette: Palette, heat: Float32[np.ndarray, "n"] | None, look: Look) -> UInt8[np.ndarray, "n 3"]:
    """The colour of every element.

    Without labels the modes "classes" and "confidence" show dim grey, and so does "heat" before the first question.

    Args:
        elements: splats or points.
        palette: a colour per class.
        heat: how well every element answers the last question, in [0, 1]; ½ = as well as anything.
        look: what is wanted.
    """
    colors, labels = elements.colors, elements.labels
    everything = np.ones(len(elements), dtype=bool)
    match look.mode:
        case "color":
            return u8(colors)
        case "classes":
            if labels is None:
                return u8(dimmed(colors, everything))
            return u8(class_colors(colors, sure_classes(labels, look.min_confidence), palette))
        case "confidence":
            if labels is None:
                return u8(dimmed(colors, everything))
            unknown = sure_classes(labels, look.min_confidence) < 0
            return u8(np.where(unknown[:, None], dimmed(colors, everything), confidence_colors(labels.confidence)))
        case "heat":
            shown = np.zeros(len(elements), dtype=np.float32) if heat is None else shown_heat(heat)
            return u8(heat_over_scene(colors, shown))
        case _:
            assert_never(look.mode)


def visible(elements: Elements, heights: Float32[np.ndarray, "n"], look: Look) -> Bool[np.ndarray, "n"]:
    """Which elements are shown.

    Args:
        elements: splats or points.
        heights: of their positions along the up direction.
        look: what is wanted.
    """
    shown = np.ones(len(elements), dtype=bool) if look.cut_height is None else heights <= look.cut_height
    if elements.labels is not None and look.hidden_classes:
        shown = shown & ~np.isin(sure_classes(elements.labels, look.min_confidence), list(look.hidden_classes))
    return shown


def sure_classes(labels: ElementLabels, min_confidence: float) -> Int32[np.ndarray, "n"]:
    """Class of every element, −1 where it is unknown or less certain than asked."""
    return np.where(labels.confidence >= min_confidence, labels.class_ids, np.int32(-1))
