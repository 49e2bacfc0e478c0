"""A reconstructed scene: its Gaussians, the cameras it was seen from, where it is, and what is known about how it was made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64

from scenewise.errors import ConventionError
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.captures import Scale
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.georeference import Georeference

Split = Literal["train", "test"]


@dataclass(frozen=True)
class SceneCamera:
    """A camera the scene was photographed with.

    Attributes:
        name: the frame's name in the capture.
        camera: a record without batch axes.
        split: whether the frame trained the scene or was held out.
    """

    name: str
    camera: Cameras
    split: Split


@dataclass(frozen=True)
class Provenance:
    """How a scene came about.

    Attributes:
        capture: folder of the capture as given, or "" for a procedural one.
        source_format: how it was read: "colmap", "transforms", "rgbd" or "world".
        preset: data set preset, or None.
        data_hash: checksum of what was trained on.
        method: name of the method's folder.
        config: the resolved configuration, JSON values only.
        versions: version by package name; includes scenewise.
        git_commit: of the software, or None outside a checkout.
        created: time of writing, ISO 8601 in UTC.
    """

    capture: str
    source_format: str
    preset: str | None
    data_hash: str
    method: str
    config: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    git_commit: str | None = None
    created: str | None = None


@dataclass(frozen=True)
class EvaluationCard:
    """What was measured on a scene, and on what.  None = not measured.

    Attributes:
        split: which views were measured.
        num_views: how many.
        psnr: mean over views, dB.
        ssim: mean over views.
        lpips: mean over views, None without a backbone file.
        num_gaussians: size of the scene.
        seconds: training time.
        peak_memory_bytes: of the training process.
        miou: semantic agreement where there is truth.
        more: further figures (colour-corrected, depth error, per image …), JSON values only.
    """

    split: Split
    num_views: int
    psnr: float | None
    ssim: float | None
    lpips: float | None
    num_gaussians: int
    seconds: float | None = None
    peak_memory_bytes: int | None = None
    miou: float | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Scene:
    """Gaussians and everything needed to look at, measure, place and reproduce them.

    Attributes:
        load_gaussians: reads the Gaussians; nothing is read before it is called, and nothing is kept after.
        num_gaussians: their number; 0 for a labelled cloud.
        sh_degree: their degree of view-dependent colour.
        cameras: where the photographs were taken, in file-name order.
        provenance: how the scene was made.
        scale: "metric" when a world unit is a metre, else "arbitrary".
        up_in_world: unit vector away from the ground, or None when unknown.
        world_from_source: transform from the capture's own frame to the world frame.
        georeference: world to projected coordinates, or None.
        background: colour behind everything in [0, 1], or None for black by default.
        evaluation: what was measured, or None.
        licences: licence of every model and data set used, by its name; None = unknown.
    """

    load_gaussians: Callable[[], Gaussians]
    num_gaussians: int
    sh_degree: int
    cameras: tuple[SceneCamera, ...]
    provenance: Provenance
    scale: Scale = "arbitrary"
    up_in_world: Float64[np.ndarray, "3"] | None = None
    world_from_source: Float64[np.ndarray, "4 4"] = field(default_factory=lambda: np.eye(4))
    georeference: Georeference | None = None
    background: tuple[float, float, float] | None = None
    evaluation: EvaluationCard | None = None
    licences: Mapping[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = set()
        for entry in self.cameras:
            if entry.name in names:
                raise ConventionError("cameras of a scene", expected="unique names", got=f"{entry.name} twice")
            names.add(entry.name)
        if self.up_in_world is not None and not abs(float(np.linalg.norm(self.up_in_world)) - 1) < 1e-6:
            raise ConventionError("up_in_world", expected="a unit vector", got=self.up_in_world.tolist())

    @property
    def gaussians(self) -> Gaussians:
        """The Gaussians, read now."""
        return self.load_gaussians()

    def camera(self, name: str) -> Cameras:
        """The camera of frame ``name``.

        Raises:
            ConventionError: the scene has no such frame.
        """
        for entry in self.cameras:
            if entry.name == name:
                return entry.camera
        raise ConventionError(f"frame {name!r}", expected=f"one of the scene's {len(self.cameras)} frames", got="none of them")

    def cameras_of(self, split: Split) -> tuple[SceneCamera, ...]:
        """The cameras that trained the scene, or those held out."""
        return tuple(entry for entry in self.cameras if entry.split == split)

    def with_gaussians(self, gaussians: Gaussians) -> "Scene":
        """The same scene with other Gaussians, held in memory; what was measured no longer holds."""
        return replace(
            self,
            load_gaussians=lambda: gaussians,
            num_gaussians=len(gaussians),
            sh_degree=gaussians.sh_degree,
            evaluation=None,
        )
