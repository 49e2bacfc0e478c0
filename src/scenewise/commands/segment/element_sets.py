"""Points and splats as the pipeline of ``scenewise segment`` sees them: alike but for how they are cut, lifted and painted."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int32, Int64, UInt8

from scenewise.geometry.spherical_harmonics import sh0_from_rgb
from scenewise.io.named_points import write_named_points
from scenewise.io.ply.gaussians import write_gaussians_ply
from scenewise.io.scene_folder import CLASS_SPLATS_FILE, POINTS_FILE
from scenewise.parts.segments.element_segments import Cutting, segments_of_points, segments_of_splats
from scenewise.parts.sources.targets import SpatialTarget
from scenewise.parts.words.answers import LEAST_OPACITY
from scenewise.parts.words.lifted_views import ClassReading, LiftedElements, LiftedPoints, LiftedSplats
from scenewise.scenes.elements import Elements
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.label_fields import LabelField
from scenewise.scenes.labels import ElementLabels
from scenewise.scenes.meshes import TriangleMesh
from scenewise.scenes.partitions import Partition
from scenewise.scenes.point_clouds import PointCloud


@runtime_checkable
class ElementSet(Protocol):
    """What is named together: the points of a scene, or its splats."""

    @property
    def elements(self) -> Elements:
        """Where they are."""
        ...

    def segments(self, cutting: Cutting) -> Partition:
        """Sets of them to vote in."""
        ...

    def lifted(self, reading: ClassReading, votes: bool) -> LiftedElements:
        """Sums over views of what a teacher says about them, empty yet."""
        ...

    def surface(self) -> tuple[Int64[np.ndarray, "m"], PointCloud]:
        """Rows of those that lie on surfaces, and these as a cloud with their own colours, where they have any."""
        ...

    def write_painted(self, folder: Path, labels: ElementLabels, painted_u8: UInt8[np.ndarray, "n 3"]) -> None:
        """The file of a scene folder that shows them in the colours of their classes."""
        ...


@dataclass(frozen=True)
class PointSet:
    """Points to name.

    Attributes:
        cloud: in the order of ``points.ply``.
        mesh: the triangles between them, or None.
        given: segments to vote in that a person brought along, or None.
    """

    cloud: PointCloud
    mesh: TriangleMesh | None = None
    given: Partition | None = None

    @property
    def elements(self) -> Elements:
        return Elements("points", self.cloud.points_in_world)

    def segments(self, cutting: Cutting) -> Partition:
        return segments_of_points(self.cloud, self.mesh, cutting) if self.given is None else self.given

    def lifted(self, reading: ClassReading, votes: bool) -> LiftedElements:
        return LiftedPoints(len(self.cloud), reading, votes)

    def surface(self) -> tuple[Int64[np.ndarray, "m"], PointCloud]:
        return np.arange(len(self.cloud)), self.cloud

    def write_painted(self, folder: Path, labels: ElementLabels, painted_u8: UInt8[np.ndarray, "n 3"]) -> None:
        write_named_points(folder / POINTS_FILE, self.cloud, labels, painted_u8)


@dataclass(frozen=True)
class SplatSet:
    """Splats to name.

    Attributes:
        gaussians: in the order of ``splats.ply``.
    """

    gaussians: Gaussians

    @property
    def elements(self) -> Elements:
        return Elements("splats", self.gaussians.means.detach().cpu().numpy().astype(np.float64))

    def segments(self, cutting: Cutting) -> Partition:
        return segments_of_splats(self.gaussians, cutting)

    def lifted(self, reading: ClassReading, votes: bool) -> LiftedElements:
        return LiftedSplats(self.gaussians, reading)

    def surface(self) -> tuple[Int64[np.ndarray, "m"], PointCloud]:
        """Centres in the colour that does not depend on the view; what is too faint to be surface is left out."""
        elements = Elements.of_gaussians(self.gaussians)
        assert elements.colors is not None
        rows = np.flatnonzero((self.gaussians.opacities >= LEAST_OPACITY).detach().cpu().numpy())
        colors = (elements.colors[rows] * 255.0 + 0.5).astype(np.uint8)
        return rows, PointCloud(elements.positions_in_world[rows], colors)

    def write_painted(self, folder: Path, labels: ElementLabels, painted_u8: UInt8[np.ndarray, "n 3"]) -> None:
        colors = torch.from_numpy(painted_u8.astype(np.float32) / 255.0)
        flat = replace(self.gaussians, sh0=sh0_from_rgb(colors)[:, None, :], shN=self.gaussians.shN[:, :0])
        write_gaussians_ply(folder / CLASS_SPLATS_FILE, flat)


def element_sets(target: SpatialTarget, gaussians: Gaussians, given: Partition | None) -> tuple[ElementSet, ...]:
    """Whatever a target has to be named, points first."""
    sets: list[ElementSet] = []
    if target.cloud is not None:
        sets.append(PointSet(target.cloud, target.mesh, given))
    if len(gaussians):
        sets.append(SplatSet(gaussians))
    return tuple(sets)


@dataclass(frozen=True)
class NamedSet:
    """Elements and what was found about them.

    Attributes:
        elements: they.
        lifted: what the teacher says about each.
        names: class and confidence of each.
        partition: the sets that voted; None without such a vote.
        objects: object of each, −1 = none; numbers are shared by all sets of a scene.
    """

    elements: Elements
    lifted: LiftedElements
    names: LabelField
    partition: Partition | None
    objects: Int32[np.ndarray, "n"]

    @property
    def labels(self) -> ElementLabels:
        """As they are written."""
        return ElementLabels(self.names.class_ids, self.objects, self.names.confidence)
