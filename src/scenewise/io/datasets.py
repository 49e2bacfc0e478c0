"""The papers' data sets: which images, which size, which frames are held out, and how scenes are averaged.

Protocol of 3D Gaussian Splatting (Kerbl et al. 2023, arXiv 2308.04079, Sec. 7.2) as its released evaluation runs it: frames
sorted by name, every 8th held out, starting with the first; a figure of a scene is the mean over its held-out images; a figure
of the data set is the mean over its scenes, each counting once.
"""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.city_datasets import CameraLists, read_city, scene_name
from scenewise.io.colmap.captures import read_colmap
from scenewise.io.images import Background
from scenewise.io.resizing import resized
from scenewise.io.transforms_json import read_transforms
from scenewise.scenes.captures import Capture, every_nth_name

WIDEST_IMAGE = 1600
"""Images wider than this are resized to it when no factor is given; height follows, rounded down (Kerbl et al.'s code)."""


@dataclass(frozen=True)
class DatasetPreset:
    """How one data set is read and scored.

    Attributes:
        name: as given to ``--preset``.
        scene_factors: published scenes and the factor of their image folder (None = full images).
        layout: reader of the scenes' folders; "city" has a folder of its own for what is held out
            (:mod:`scenewise.io.city_datasets`).
        default_factor: for a scene that is not among the published.
        widest_image: see ``WIDEST_IMAGE``; None leaves sizes alone.
        holdout: every n-th frame by name is held out; None keeps the files' own split.
        background: behind transparent pixels.
        published_as: what a "city" comes with where it has no COLMAP model.
        source: publication the protocol follows.
    """

    name: str
    scene_factors: Mapping[str, int | None]
    layout: Literal["colmap", "transforms", "city"]
    default_factor: int | None = None
    widest_image: int | None = WIDEST_IMAGE
    holdout: int | None = 8
    background: Background | None = None
    published_as: CameraLists = "metadata"
    source: str = "Kerbl et al. 2023, arXiv 2308.04079"

    def factor_of(self, path: Path) -> int | None:
        """Factor of a scene's image folder, by the name of the folder."""
        name = scene_name(path) if self.layout == "city" else path.resolve().name.lower()
        return self.scene_factors.get(name, self.default_factor)

    def open(self, path: Path, *, factor: int | None = None, background: Background | None = None) -> Capture:
        """Reads a scene of this data set.

        Args:
            path: the scene's folder, named as published.
            factor: overrides the preset's image folder.
            background: overrides the preset's.

        Raises:
            DataFormatError: the folder does not have the data set's layout, its image folder is missing, or it is no city of this
                data set.
        """
        chosen = factor if factor is not None else self.factor_of(path)
        if self.layout == "city":
            capture = self._open_city(path, chosen, background)
        elif self.layout == "transforms":
            capture = read_transforms(path, factor=chosen, background=background or self.background)
        else:
            if chosen not in (None, 1) and not (path / f"images_{chosen}").is_dir():
                raise DataFormatError(
                    path / f"images_{chosen}",
                    expected=f"the image folder of {self.name}",
                    got="no such folder",
                    fix=f"unpack it from the data set's archive, or open without --preset and with --downscale {chosen}",
                )
            capture = read_colmap(path, factor=chosen, background=background or self.background)
        if self.widest_image is not None and chosen is None:
            capture = limited_to_width(capture, self.widest_image)
        if self.holdout is not None:
            capture = replace(capture, test_names=every_nth_name(capture.frames, self.holdout))
        return replace(capture, preset=self.name)

    def _open_city(self, path: Path, factor: int | None, background: Background | None) -> Capture:
        name = scene_name(path)
        if name not in self.scene_factors:
            raise DataFormatError(
                path,
                "name of the scene",
                expected=f"{' or '.join(self.scene_factors)} of {self.name}",
                got=name,
                fix="name the folder as published, or open another city without --preset (and with --downscale 4)",
            )
        return read_city(
            path,
            factor=factor,
            background=background or self.background,
            limited_copies=self.widest_image is not None,
            published_as=self.published_as,
        )

    def average(self, figures_by_scene: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """Figures of the data set as published: the mean over its scenes.

        Args:
            figures_by_scene: mean over the held-out images of each scene, e.g. ``{"garden": {"psnr": 27.4}}``.

        Raises:
            ConventionError: scenes are missing or unknown, or have different figures; such a mean compares with nothing.
        """
        given, wanted = {name.lower() for name in figures_by_scene}, set(self.scene_factors)
        if given != wanted:
            raise ConventionError(
                f"average over {self.name}", expected=f"the scenes {', '.join(sorted(wanted))}", got=", ".join(sorted(given))
            )
        keys = {tuple(sorted(figures)) for figures in figures_by_scene.values()}
        if len(keys) != 1:
            raise ConventionError(f"average over {self.name}", expected="the same figures for every scene", got=sorted(keys))
        return {key: statistics.fmean(figures[key] for figures in figures_by_scene.values()) for key in next(iter(keys))}


def limited_to_width(capture: Capture, width: int) -> Capture:
    """The capture with images wider than ``width`` resized to it; height in proportion, rounded down."""
    return replace(
        capture,
        frames=tuple(
            resized(frame, width, max(1, int(frame.camera.height * width / frame.camera.width)))
            if frame.camera.width > width
            else frame
            for frame in capture.frames
        ),
    )


_CITIES = "Turki et al. 2022, arXiv 2112.10703; size as in Momentum-GS, arXiv 2412.04887"

DATASET_PRESETS: dict[str, DatasetPreset] = {
    preset.name: preset
    for preset in (
        # 800×800 RGBA on white, split by transforms_train.json and transforms_test.json.
        DatasetPreset(
            name="nerf_synthetic",
            scene_factors=dict.fromkeys(("chair", "drums", "ficus", "hotdog", "lego", "materials", "mic", "ship")),
            layout="transforms",
            holdout=None,
            background=(1.0, 1.0, 1.0),
            source="Mildenhall et al. 2020, arXiv 2003.08934; white background as in Kerbl et al. 2023",
        ),
        # Outdoor scenes from images_4, indoor scenes from images_2, resized by the data set's authors.
        DatasetPreset(
            name="mipnerf360",
            scene_factors={
                **dict.fromkeys(("bicycle", "flowers", "garden", "stump", "treehill"), 4),
                **dict.fromkeys(("room", "counter", "kitchen", "bonsai"), 2),
            },
            layout="colmap",
            default_factor=4,
            source="Barron et al. 2022, arXiv 2111.12077; split as in Kerbl et al. 2023",
        ),
        DatasetPreset(name="tanks_and_temples", scene_factors=dict.fromkeys(("truck", "train")), layout="colmap"),
        DatasetPreset(name="deep_blending", scene_factors=dict.fromkeys(("drjohnson", "playroom")), layout="colmap"),
        # Held out are the photographs of Mega-NeRF's val folder; a quarter of the size, whatever the camera.
        DatasetPreset(
            name="mill19",
            scene_factors=dict.fromkeys(("building", "rubble"), 4),
            layout="city",
            widest_image=None,
            holdout=None,
            source=_CITIES,
        ),
        DatasetPreset(
            name="urban_scene3d",
            scene_factors=dict.fromkeys(("residence", "sci-art", "campus"), 4),
            layout="city",
            widest_image=None,
            holdout=None,
            source=_CITIES,
        ),
        # Small City from the air, all ten blocks; rendered at 1920×1080, used at 1600×900.
        DatasetPreset(
            name="matrix_city",
            scene_factors={"aerial": None},
            layout="city",
            holdout=None,
            published_as="pose",
            source="Li et al. 2023, arXiv 2309.16553; size as in Momentum-GS, arXiv 2412.04887",
        ),
    )
}
"""Presets by name."""
