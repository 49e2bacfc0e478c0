"""A pre-trained pair of branches in use: unit features of pictures and of points in one space, key-point scores, and words.

``condense`` is the embedded pair, ``condense:RUN`` one that ``scenewise pretrain`` has trained.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Float64, Int64, UInt8
from torch import Tensor

from scenewise.errors import ConventionError, DataFormatError, ResourceError
from scenewise.networks.consistent.pair import ConsistentPair
from scenewise.networks.consistent.shape import STRIDE
from scenewise.networks.sparse_inputs import VoxelisedPoints
from scenewise.scenes.dense_fields import DenseField
from scenewise.scenes.frames import ImageU8
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.teachers.choice import CONSISTENT, is_consistent
from scenewise.teachers.clip_teacher import ClipTeacher
from scenewise.teachers.consistent_file import FILE, AboutPair, PairFile, read_pair
from scenewise.teachers.tower_maps import CELL, tower_maps
from scenewise.teachers.towers import VisionTower

WEIGHTS = Path(__file__).resolve().parent.parent / "weights" / "condense.safetensors"
PICTURE_WIDTH = 320
"""Pixels of the longer side at which pictures are looked at: 4,800 cells of a photograph of 4:3."""
_METHOD = 2  # part of every fingerprint; raise it when the same weights begin to give other features


@dataclass(frozen=True)
class PictureFeatures:
    """What the 2D branch says of a picture.

    Attributes:
        features: unit length, of cells that cover the whole picture.
        scores: of being a key point, in (0, 1).
        height: of the picture in pixels.
        width: likewise.
    """

    features: Float32[np.ndarray, "rows columns dim"]
    scores: Float32[np.ndarray, "rows columns"]
    height: int
    width: int

    def pixels(self) -> Float64[np.ndarray, "rows columns 2"]:
        """Centres (u, v) of the cells in the picture."""
        rows, columns = self.scores.shape
        v, u = np.meshgrid(np.arange(rows) + 0.5, np.arange(columns) + 0.5, indexing="ij")
        return np.stack([u * self.width / columns, v * self.height / rows], axis=-1)


@dataclass(frozen=True)
class CloudFeatures:
    """What the 3D branch says of a cloud, on its occupied voxels.

    Attributes:
        features: unit length.
        scores: of being a key point, in (0, 1).
        centers: mean of the points in each voxel, in the frame and unit of the points given.
        voxel_of_point: row of each point's voxel.
    """

    features: Float32[np.ndarray, "voxels dim"]
    scores: Float32[np.ndarray, "voxels"]
    centers: Float32[np.ndarray, "voxels 3"]
    voxel_of_point: Int64[np.ndarray, "points"]

    def __len__(self) -> int:
        return len(self.scores)


@final
class ConsistentFeatures:
    """Both branches with the frozen tower that the 2D one was trained beside; also a teacher of dense features.

    Args:
        file: of the branches.
        clip: the tower, and the words that the translator leads to.
        name: what a person called it.

    Raises:
        ConventionError: another tower than the branches were trained beside.
    """

    def __init__(self, file: PairFile, clip: ClipTeacher, name: str) -> None:
        tower = clip.clip.tower
        if not isinstance(tower, VisionTower) or clip.clip.fingerprint != file.about.tower_fingerprint:
            raise ConventionError(
                f"tower of {name}",
                expected=f"{file.about.tower} with the weights it was trained beside",
                got=f"{clip.name}, other weights",
                fix="use the revision that was there then",
            )
        self.pair: ConsistentPair = file.pair.to(clip.clip.device)
        self.about: AboutPair = file.about
        self.device = torch.device(clip.clip.device)
        self._clip, self._tower, self._name = clip, tower, name
        self._fingerprint = hashlib.sha256(f"{_METHOD}|{file.fingerprint}|{clip.clip.fingerprint}".encode()).hexdigest()

    # ----------------------------------------------------------------------------------------------------------- features

    @property
    def dim(self) -> int:
        """Of the shared space."""
        return self.pair.shape.dim

    @torch.no_grad()
    def of_picture(self, image_u8: ImageU8, longer_side: int = PICTURE_WIDTH) -> PictureFeatures:
        """Features of a picture; a smaller one is looked at as it is.

        Args:
            image_u8: sRGB.
            longer_side: pixels at which it is looked at.
        """
        height, width = image_u8.shape[:2]
        scale = min(1.0, longer_side / max(height, width))
        size = tuple(max(1, round(side * scale / CELL)) * CELL for side in (height, width))
        picture = (torch.from_numpy(np.array(image_u8)).to(self.device).permute(2, 0, 1).float() / 255.0)[None]
        if picture.shape[2:] != size:
            picture = _resized(picture, size)
        # The tower, most of the work, sees the picture at the size that it was learned beside; its patches are coarse anyway.
        share = min(1.0, self.about.picture_width / max(size))
        coarse = tuple(max(1, round(side * share / CELL)) * CELL for side in size)
        shown = picture if coarse == size else _resized(picture, coarse)
        seen = self.pair.image(picture, tower_maps(self._tower, shown, self.pair.shape.read_levels))
        assert seen.features.shape[2] == size[0] // STRIDE
        return PictureFeatures(
            seen.features[0].permute(1, 2, 0).contiguous().cpu().numpy(),
            torch.sigmoid(seen.score_logits[0]).cpu().numpy(),
            height,
            width,
        )

    @torch.no_grad()
    def of_points(
        self, points: Float32[np.ndarray, "n 3"] | Float64[np.ndarray, "n 3"], colors_u8: UInt8[np.ndarray, "n 3"]
    ) -> CloudFeatures:
        """Features of a coloured cloud.

        Args:
            points: metres, +Z up where that is known.
            colors_u8: sRGB.

        Raises:
            ConventionError: no points.
        """
        if not len(points):
            raise ConventionError("points", expected="at least one", got="none")
        low = points.min(axis=0)
        local = torch.from_numpy(np.ascontiguousarray(points - low, dtype=np.float32))
        inputs = torch.from_numpy(colors_u8.astype(np.float32)) / 127.5 - 1.0
        items = torch.zeros(len(local), dtype=torch.int64)
        cloud = VoxelisedPoints.from_points(
            inputs.to(self.device), (local / self.about.voxel).to(self.device), items.to(self.device)
        )
        said = self.pair.points(cloud)
        voxel = cloud.voxels.voxel_of_point.cpu().numpy()
        counts = np.bincount(voxel, minlength=len(said.features))
        middle = np.stack([np.bincount(voxel, local[:, axis].numpy(), len(counts)) / counts for axis in range(3)], axis=1)
        return CloudFeatures(
            said.features.float().cpu().numpy(),
            torch.sigmoid(said.score_logits).cpu().numpy(),
            (middle + low).astype(np.float32),
            voxel.astype(np.int64),
        )

    @torch.no_grad()
    def translated(self, features: Float32[np.ndarray, "*rows dim"]) -> Float32[np.ndarray, "*rows text_dim"]:
        """Unit vectors of the text space that features say the same as."""
        given = torch.from_numpy(np.array(features)).to(self.device)
        said: Tensor = F.normalize(self.pair.translated(given), dim=-1)
        return said.cpu().numpy()

    def features_of_points(
        self, points: Float32[np.ndarray, "n 3"] | Float64[np.ndarray, "n 3"], colors_u8: UInt8[np.ndarray, "n 3"]
    ) -> Float32[np.ndarray, "n text_dim"]:
        """Unit feature of each point in the text space, by the 3D branch alone: that of its voxel; arguments and errors as in
        :meth:`of_points`.
        """
        said = self.of_points(points, colors_u8)
        return self.translated(said.features)[said.voxel_of_point]

    # ------------------------------------------------------------------------------------------------------------ teacher

    @property
    def name(self) -> str:
        """What a person called it."""
        return self._name

    @property
    def fingerprint(self) -> str:
        """Of both branches and the tower."""
        return self._fingerprint

    @property
    def logit_scale(self) -> float:
        """Of the tower's text space."""
        return self._clip.logit_scale

    @property
    def licence(self) -> str | None:
        """Of the branches; their tower's where theirs is unknown."""
        return self.about.licence or self._clip.licence

    def dense(self, image: ImageU8, frame_name: str) -> DenseField | None:
        """Features of a picture in the text space; never None."""
        seen = self.of_picture(image)
        return DenseField(self.translated(seen.features), height=seen.height, width=seen.width)

    def embed_image(self, image: ImageU8) -> Float32[np.ndarray, "text_dim"]:
        """A whole picture as one unit vector of the text space: the mean over its cells, key points first."""
        seen = self.of_picture(image)
        mean = (seen.features * seen.scores[..., None]).sum(axis=(0, 1))
        return self.translated(mean / max(float(np.linalg.norm(mean)), 1e-12))

    def embed_text(self, phrases: Sequence[str], templates: Sequence[str]) -> Float32[np.ndarray, "phrases text_dim"]:
        """Unit embedding per phrase; see :class:`scenewise.teachers.protocol.Teacher`."""
        return self._clip.embed_text(phrases, templates)

    def default_templates(self) -> tuple[str, ...]:
        """The tower's prompts."""
        return self._clip.default_templates()

    def vocabulary(self) -> Vocabulary | None:
        """The tower's."""
        return self._clip.vocabulary()


def _resized(picture: Float[Tensor, "1 3 _ _"], size: tuple[int, ...]) -> Float[Tensor, "1 3 height width"]:
    return F.interpolate(picture, size, mode="bilinear", align_corners=False, antialias=True).clamp(0.0, 1.0)


def open_consistent(name: str, *, device: str | None = None, local_files_only: bool = False) -> ConsistentFeatures:
    """The pair of branches that a person asked for.

    Args:
        name: ``condense`` (embedded) or ``condense:RUN``, a run's folder or the file in it.
        device: where to compute; None takes CUDA where there is a device.
        local_files_only: never ask the network for the tower.

    Raises:
        ConventionError: no such name, or the tower has changed.
        DataFormatError: no such file, or a damaged one.
        ResourceError: no weights are embedded, or the tower cannot be reached.
        MissingDependencyError: the tower cannot be opened.
    """
    from scenewise.teachers.choose import FILES_PREFIX, open_teacher

    file, name = open_pair(name), name.strip()
    tower = file.about.tower.strip()
    if tower.startswith(FILES_PREFIX) or is_consistent(tower):
        raise ConventionError(f"tower of {name}", expected="a CLIP, SigLIP or DINOv2", got=repr(tower)[:80])
    clip = open_teacher(tower, device=device, local_files_only=local_files_only)
    assert isinstance(clip, ClipTeacher), "towers are those of a CLIP"
    return ConsistentFeatures(file, clip, name)


def open_pair(name: str) -> PairFile:
    """The branches that a person asked for, without their tower; arguments and errors as in :func:`open_consistent`."""
    prefix, separator, place = name.strip().partition(":")
    if prefix != CONSISTENT or bool(separator) != bool(place.strip()):
        raise ConventionError("teacher", expected=f'"{CONSISTENT}" or "{CONSISTENT}:RUN"', got=repr(name))
    return read_pair(_file_at(Path(place.strip()).expanduser())) if separator else _embedded()


@cache
def _embedded() -> PairFile:
    if not WEIGHTS.is_file():
        raise ResourceError(
            CONSISTENT,
            expected="weights that come with the package",
            got="none in this one",
            fix=f"{CONSISTENT}:RUN with a run of scenewise pretrain",
        )
    return read_pair(WEIGHTS)


def _file_at(path: Path) -> Path:
    found = path / FILE if path.is_dir() else path
    if not found.is_file():
        raise DataFormatError(
            path, expected=f"a run of scenewise pretrain, with {FILE}", got="none", fix="name the folder of a finished run"
        )
    return found
