"""SC-CLIP on the eight data sets of its paper: which model, which read-out, which windows, which thresholds.

The read-out's values, each with its source, are in :class:`scenewise.teachers.read_outs.settings.ScClipSettings`; sizes, scales
and thresholds of a data set in :class:`scenewise.io.segmentation_datasets.presets.SegmentationDataset`.  Source of both: the
released configurations of Bai et al. 2024, arXiv 2411.15869.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from scenewise.errors import ConventionError
from scenewise.io.segmentation_datasets.presets import SEGMENTATION_DATASETS, SegmentationDataset
from scenewise.teachers.read_outs.settings import ScClipSettings

if TYPE_CHECKING:
    from scenewise.teachers.clip_teacher import ClipTeacherSettings

BASE = "openai/clip-vit-base-patch16"
LARGE = "openai/clip-vit-large-patch14"


@dataclass(frozen=True)
class ScClipConfig:
    """One published evaluation.

    Attributes:
        dataset: images, words and thresholds.
        teacher: Hugging Face id.  The released configurations are for B/16; for L/14 the same values with layers at the same
            fractions of the depth, which is our choice, as none are published.
        read_out: steps and weights.
    """

    dataset: SegmentationDataset
    teacher: str = BASE
    read_out: ScClipSettings = field(default_factory=ScClipSettings)


PRESETS: Mapping[str, ScClipConfig] = MappingProxyType(
    {name: ScClipConfig(dataset) for name, dataset in SEGMENTATION_DATASETS.items()}
)
"""B/16 on each data set, by its name."""

PRESETS_LARGE: Mapping[str, ScClipConfig] = MappingProxyType(
    {name: ScClipConfig(dataset, LARGE) for name, dataset in SEGMENTATION_DATASETS.items()}
)
"""L/14 on each data set, by its name."""


def preset(name: str, *, large: bool = False) -> ScClipConfig:
    """The configuration of a data set.

    Raises:
        ConventionError: the paper has no such data set.
    """
    presets = PRESETS_LARGE if large else PRESETS
    if name not in presets:
        raise ConventionError("data set", expected=f"one of {', '.join(presets)}", got=repr(name))
    return presets[name]


def teacher_settings(config: ScClipConfig) -> "ClipTeacherSettings":
    """The same as settings of a teacher: read-out, size, windows, logit scale and the 80 prompts of ImageNet."""
    from scenewise.teachers.clip_teacher import ClipTeacherSettings
    from scenewise.teachers.preprocessing import ResizeSettings
    from scenewise.teachers.windows import WindowSettings

    dataset = config.dataset
    return ClipTeacherSettings(
        read_out=config.read_out,
        resize=ResizeSettings(short_side=dataset.short_side, long_side=dataset.long_side),
        windows=WindowSettings(crop=dataset.crop, stride=dataset.stride),
        logit_scale=dataset.logit_scale,
    )


def steps_in_turn() -> Mapping[str, ScClipSettings]:
    """The ladder from the plain last block to the whole method, one step more at each rung."""
    rung = ScClipSettings(repair=False, feature_adjust=False, attention_adjust=False, output_adjust=False, two_pass=False)
    ladder = {"key_attention": rung}
    ladder["+ repair"] = rung = replace(rung, repair=True)
    ladder["+ feature_adjust"] = rung = replace(rung, feature_adjust=True)
    ladder["+ attention_adjust"] = rung = replace(rung, attention_adjust=True)
    ladder["+ output_adjust"] = rung = replace(rung, output_adjust=True)
    ladder["+ two_pass"] = replace(rung, two_pass=True)
    return ladder
