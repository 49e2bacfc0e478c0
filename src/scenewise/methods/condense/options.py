"""Settings of ConDense, each with its source.

"Paper" is Zhang et al., ECCV 2024, of which the abstract, a review and the project page are known here; "ours" is what it
does not tell.  Nothing here imports torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from scenewise.errors import ConventionError
from scenewise.networks.consistent.shape import PointBackbone

RendererName = Literal["marched", "rasterised"]
Objective = Literal["condense", "point_contrast", "colour_rendering"]


@dataclass(frozen=True)
class LossWeights:
    """How much each part counts; 0 leaves it out.

    Attributes:
        consistency: 1 − cosine between the rendered 3D feature of a ray and the 2D feature of its pixel (paper; weight ours).
        prior: what the translator misses of the frozen features, as a share of their variance (paper: a term that keeps the 2D
            prior; form and weight ours).
        rendered_prior: the same of the rendered 3D features, with the same translator, over rays (ours: what words mean otherwise
            reaches the 3D branch through the 2D one alone).
        contrast: cross entropy of telling a ray's pixel among the pixels of all rays of the step, and back (ours: without it the
            two branches agree on little more than what the prior demands).
        agreement: 1 − cosine between pixels of two pictures that show one point (ours).
        keypoints: of the two scores (paper: key points in both branches; form ours).
    """

    consistency: float = 0.2
    prior: float = 1.0
    rendered_prior: float = 0.5
    contrast: float = 1.0
    agreement: float = 0.1
    keypoints: float = 0.1

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value < float("inf"):
                raise ConventionError(f"losses.{name}", expected="0 or more", got=value)


@dataclass(frozen=True)
class RaySettings:
    """How pixels look into the volume.

    Attributes:
        per_view: pixels of each picture in a step.
        detailed: share of them that is drawn by how much brightness changes there, since most pixels show bare surfaces that look
            alike everywhere; the rest is drawn evenly.
        samples: along a ray, around its known depth.
        depth_deviation: standard deviation of these about the depth, metres.
        renderer: "marched": volume rendering; "rasterised": one small Gaussian per voxel.  Both give one feature per pixel.
        least_alpha: rays that the volume stops less than this are left out.
    """

    per_view: int = 160
    detailed: float = 0.5
    samples: int = 6
    depth_deviation: float = 0.03
    renderer: RendererName = "marched"
    least_alpha: float = 0.5

    def __post_init__(self) -> None:
        for name, least in (("per_view", 1), ("samples", 2)):
            if getattr(self, name) < least:
                raise ConventionError(f"rays.{name}", expected=f"at least {least}", got=getattr(self, name))
        if not 0 <= self.detailed <= 1:
            raise ConventionError("rays.detailed", expected="a share from 0 to 1", got=self.detailed)
        if not self.depth_deviation > 0:
            raise ConventionError("rays.depth_deviation", expected="metres above 0", got=self.depth_deviation)


@dataclass(frozen=True)
class Variation:
    """What is changed about clouds and pictures, drawn anew for every scan and step (ours).

    Attributes:
        turn: about the up axis by any angle.
        shift_voxels: along every axis, so that voxel borders fall elsewhere.
        least_points: share of a cloud's points that stays, drawn between this and 1.
        whole: share of clouds that are shown in full; others are cut to what the pictures of the step look at.
        light: deviation of the logarithm of brightness, of clouds and of each picture on their own.
        tint: the same of each colour channel.
        gamma: the same of the exponent.
        noise: deviation of what is added to each point's colour, of 1.
    """

    turn: bool = True
    shift_voxels: float = 16.0
    least_points: float = 0.3
    whole: float = 0.25
    light: float = 0.1
    tint: float = 0.04
    gamma: float = 0.08
    noise: float = 0.01


@dataclass(frozen=True)
class CondenseConfig:
    """Everything that decides a run, the data and the seed apart.

    Attributes:
        objective: "condense"; or one of the two that it is compared with on the same 3D network: "point_contrast" (two cuts of a
            cloud agree point by point; Xie et al. 2020, arXiv 2007.10985) and "colour_rendering" (colours of pictures are
            rendered from a cloud of which most points are hidden; after Huang et al. 2023, arXiv 2301.00157, and Zhu et al.
            2023, arXiv 2310.08586).
        dim: of the shared space.
        backbone: of the 3D branch.
        width: multiple of its channels.
        image_width: channels of the adapter beside the frozen tower.
        reads_pixels: the adapter sees the picture itself beside the tower's patches.
        voxel: edge, metres.
        picture_width: of the pictures that are learned from, pixels.
        most_views: pictures of a scan that are kept, spread evenly.
        most_points: of a scan, where they are made of depth.
        steps: of training.
        scans_per_step: over all processes.
        views_per_scan: pictures of each in a step.
        rays: how pixels look into the volume.
        losses: how much each part counts.
        temperature: of the contrast.
        far: pixels nearer than this to the right one, in metres between the points they show, are no wrong answers.
        settled: share of the run in which consistency and agreement reach their weights, from 0 on: features that are all alike
            agree best, and before they differ that is what these two ask for.
        remembered: rays of the steps before, over all processes, that a sure match is told from as well: a step sees few scans,
            and what is unique in each of them may be in all others too.
        point_rate: AdamW's rate of the 3D branch, down to 0 by half a cosine after a short rise.
        image_rate: of the 2D branch and the translator.
        weight_decay: of all.
        clip_norm: largest norm of all gradients together.
        average: how much of the running average of both branches is kept in a step, in the end; the average is what is used.
        variation: of clouds and pictures.
    """

    objective: Objective = "condense"
    dim: int = 128
    backbone: PointBackbone = "minkunet34c"
    width: float = 1.0
    image_width: int = 128
    reads_pixels: bool = True
    voxel: float = 0.05
    picture_width: int = 320
    most_views: int = 40
    most_points: int = 200_000
    steps: int = 20_000
    scans_per_step: int = 4
    views_per_scan: int = 5
    rays: RaySettings = field(default_factory=RaySettings)
    losses: LossWeights = field(default_factory=LossWeights)
    temperature: float = 0.07
    far: float = 0.2
    settled: float = 0.1
    remembered: int = 4096
    point_rate: float = 2e-3
    image_rate: float = 2e-3
    weight_decay: float = 0.01
    clip_norm: float = 5.0
    average: float = 0.996
    variation: Variation = field(default_factory=Variation)

    def __post_init__(self) -> None:
        for name in ("dim", "steps", "scans_per_step", "views_per_scan", "picture_width", "most_views", "most_points"):
            if getattr(self, name) < 1:
                raise ConventionError(name, expected="at least 1", got=getattr(self, name))
        if self.remembered < 0:
            raise ConventionError("remembered", expected="0 or more", got=self.remembered)
        for name in ("voxel", "temperature", "width", "point_rate", "image_rate", "clip_norm"):
            if not getattr(self, name) > 0:
                raise ConventionError(name, expected="above 0", got=getattr(self, name))
        if not 0 <= self.settled <= 1:
            raise ConventionError("settled", expected="a share from 0 to 1", got=self.settled)
        if not 0 <= self.average < 1:
            raise ConventionError("average", expected="from 0 to below 1", got=self.average)


ROOMS = CondenseConfig(
    dim=64,
    backbone="minkunet14a",
    width=0.25,
    image_width=64,
    picture_width=192,
    most_views=20,
    steps=1500,
    scans_per_step=4,
    views_per_scan=2,
)
"""Narrow, for procedural rooms on a CPU."""

PRESETS: Mapping[str, CondenseConfig] = MappingProxyType({"captures": CondenseConfig(), "rooms": ROOMS})
"""By kind of data."""
