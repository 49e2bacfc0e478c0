"""Some scans, augmented and joined: what one training step sees."""

from dataclasses import dataclass

from jaxtyping import Float, Float32, Int64
from torch import Tensor

from scenewise.networks.sparse_inputs import VoxelisedPoints
from scenewise.parts.labelfree.supervision import Supervision


@dataclass(frozen=True)
class PictureBatch:
    """The pictures of a batch; view v of all scans together is row v.

    Attributes:
        images: colours in [0, 1], augmented together with everything below.  None without a 2D student.
        labels: refined pseudo-label of each pixel, −1 = none.
        regions: 2D set of each pixel, numbered across the batch, −1 = none; None where there are none.
        targets: frozen features on their grid; None where nothing is matched.
        scan: which scan of the batch a view belongs to.
    """

    images: Float32[Tensor, "views 3 height width"] | None
    labels: Int64[Tensor, "views height width"]
    regions: Int64[Tensor, "views height width"] | None
    targets: Float[Tensor, "views channels rows columns"] | None
    scan: Int64[Tensor, "views"]


@dataclass(frozen=True)
class PixelLinks:
    """Which pixel shows which point: the table Π of the batch."""

    point: Int64[Tensor, "links"]
    view: Int64[Tensor, "links"]
    row: Int64[Tensor, "links"]
    column: Int64[Tensor, "links"]


@dataclass(frozen=True)
class TrainingBatch:
    """One step's data.

    Attributes:
        scans: indices into the data set.
        names: of the scans.
        cloud: points of all scans in the order of ``scans``.
        first_point: row of each scan's first point, and the number of points at the end.
        segments: geometric set of each point, numbered across the batch, −1 = none.
        points: fixed supervision of the 3D student: refined point labels, or a row per (point, pixel) pair.
        pictures: views of this step; None where no loss and no source needs pixels.
        links: points and pixels of these views.
    """

    scans: tuple[int, ...]
    names: tuple[str, ...]
    cloud: VoxelisedPoints
    first_point: Int64[Tensor, "scans_and_one"]
    segments: Int64[Tensor, "n"]
    points: Supervision
    pictures: PictureBatch | None
    links: PixelLinks | None
