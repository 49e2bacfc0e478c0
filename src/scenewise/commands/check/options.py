"""Options of ``scenewise check``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from scenewise.commands.shared import OptionalAlpha, OptionalColor, require_alpha, require_color, require_one_split
from scenewise.engine.option_values import Count, OptionalPath, Text, bytes_from_text, require_at_least

if TYPE_CHECKING:
    from scenewise.io.splits import SplitChoice


@dataclass(frozen=True)
class CheckOptions:
    """Look at a capture before training: poses, missing and blurred images, coverage, scale, predicted memory and time.

    Attributes:
        capture: folder with photographs and poses: COLMAP, transforms.json or RGB-D.
        preset: data set preset that fixes image size and split (nerf_synthetic, mipnerf360, tanks_and_temples, deep_blending,
            mill19, urban_scene3d, matrix_city).
        downscale: use the images at 1/N of their size.
        background: colour behind transparent images, three numbers in [0, 1].
        alpha: what transparent pixels of the images are: "mask" leaves them out of everything, "background" learns them as empty
            space.  Default: background where --background is given and for rendered captures (transforms_train.json, or a
            transforms.json of cameras without distortion), mask for all other photographs.
        keep_all_images: hold nothing out: all images train, and nothing says how well other views are shown.
        test_every: hold out every N-th image by name, in place of the capture's own split.
        split_file: names of the images to hold out, one a line; or JSON with "train" and "test", what is in neither left out.
        budget: memory that blocks of method momentum_gs are to keep to, such as 4GB; what it predicts follows.
        strict: exit with an error where reconstruct --strict would refuse.
    """

    capture: Positional[Path]
    preset: Text = None
    downscale: Count = None
    background: OptionalColor = None
    alpha: OptionalAlpha = None
    keep_all_images: bool = False
    test_every: Count = None
    split_file: OptionalPath = None
    budget: Text = None
    strict: bool = False

    def __post_init__(self) -> None:
        require_at_least("--downscale", self.downscale, 1)
        require_color("--background", self.background)
        require_alpha(self.alpha, self.background)
        require_one_split(self.keep_all_images, self.test_every, self.split_file)
        if self.budget is not None:
            bytes_from_text(self.budget)

    @property
    def budget_bytes(self) -> int | None:
        """The memory budget in bytes, or None for no limit."""
        return None if self.budget is None else bytes_from_text(self.budget)

    @property
    def split(self) -> "SplitChoice":
        """Which images are held out."""
        from scenewise.io.splits import SplitChoice

        return SplitChoice(self.keep_all_images, self.test_every, self.split_file)
