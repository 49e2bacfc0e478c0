"""What the release of Momentum-GS sets for each scene that the paper reports.

"Released" is github.com/Jixuan-Fan/Momentum-GS: ``script/train/train-SCENE-8blocks.sh`` unless said otherwise.  Settings that are
the same for every scene and that nobody tunes by scene are the method's, not these.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

CITY_VOXEL_SIZE = 1e-4
"""Released, for every scene: ``voxel_size`` of ``arguments/__init__.py``, in world units, which differ between data sets."""
BLOCK_ITERATIONS = 60_000
"""Released, for every scene: ``iterations`` of ``arguments/__init__.py``; so many for each block."""
COARSE_ITERATIONS = 30_000
"""Released, for every scene: ``iterations`` of ``script/train/train-SCENE-coarse.sh``."""


@dataclass(frozen=True)
class PublishedScene:
    """One scene as it was trained for the paper; None is what the release does not say.

    Attributes:
        data_set: preset that opens it (:data:`scenewise.io.datasets.DATASET_PRESETS`).
        name: of the scene, as :func:`scenewise.io.city_datasets.scene_name` tells it.
        block_dim: cells along x, y and z of the contracted world.
        aabb: what is not contracted: smallest x, y, z, then largest, in the world of the data set's COLMAP model; a capture that
            was moved (``Capture.world_from_source``) has it elsewhere.
        consistency_weight: λ of the consistency loss.
        sigma: σ of the blocks' weights, dB.
        visibility_threshold: τ: a camera belongs to a block whose absence costs its picture more than this in SSIM.
        downscale: factor of the photographs; None where their width is limited instead.
        widest_image: pixels; None where a factor is given.
        voxel_size: of the anchors, world units.
        iterations: of each block.
        coarse_iterations: of the model that tells which cameras see a block.
    """

    data_set: str
    name: str
    block_dim: tuple[int, int, int] | None
    aabb: tuple[float, float, float, float, float, float] | None
    consistency_weight: float | None
    sigma: float | None
    visibility_threshold: float | None
    downscale: int | None
    widest_image: int | None = None
    voxel_size: float = CITY_VOXEL_SIZE
    iterations: int = BLOCK_ITERATIONS
    coarse_iterations: int = COARSE_ITERATIONS

    @property
    def blocks(self) -> int | None:
        """How many there are; None where the release does not say."""
        return None if self.block_dim is None else math.prod(self.block_dim)


PUBLISHED_SCENES: Mapping[str, PublishedScene] = {
    scene.name: scene
    for scene in (
        PublishedScene(
            data_set="mill19",
            name="building",
            block_dim=(2, 1, 4),  # train-building-8blocks.sh: block_dim; y is the vertical
            aabb=(-140.0, -100.0, 0.0, -10.0, 900.0, 250.0),  # train-building-8blocks.sh and data_partition.sh
            consistency_weight=50.0,  # train-building-8blocks.sh: consistency_loss_weight
            sigma=9.0,  # train-building-8blocks.sh: adaptive_sigma
            visibility_threshold=0.03,  # train-building-8blocks.sh: partition_name block8_ssim0.03
            downscale=4,  # train-building-8blocks.sh: resolution
        ),
        PublishedScene(
            data_set="mill19",
            name="rubble",
            block_dim=(2, 1, 4),  # train-rubble-8blocks.sh
            aabb=(-50.0, -100.0, -135.0, 50.0, 300.0, -5.0),  # train-rubble-8blocks.sh and data_partition.sh
            consistency_weight=100.0,  # train-rubble-8blocks.sh
            sigma=12.0,  # train-rubble-8blocks.sh
            visibility_threshold=0.05,  # train-rubble-8blocks.sh: block8_ssim0.05; data_partition.sh: 0.05
            downscale=4,  # train-rubble-8blocks.sh
        ),
        PublishedScene(
            data_set="urban_scene3d",
            name="residence",
            block_dim=(2, 1, 4),  # train-residence-8blocks.sh
            aabb=(-25.0, -200.0, -270.0, 175.0, 200.0, 60.0),  # train-residence-8blocks.sh and data_partition.sh
            consistency_weight=50.0,  # train-residence-8blocks.sh
            sigma=10.0,  # train-residence-8blocks.sh
            visibility_threshold=0.03,  # train-residence-8blocks.sh: block8_ssim0.03; the example in data_partition.sh has 0.05
            downscale=4,  # train-residence-8blocks.sh
        ),
        PublishedScene(
            data_set="urban_scene3d",
            name="sci-art",
            block_dim=(2, 1, 4),  # train-sciart-8blocks.sh
            aabb=(-110.0, -500.0, -205.0, 55.0, 100.0, 90.0),  # train-sciart-8blocks.sh and data_partition.sh
            consistency_weight=100.0,  # train-sciart-8blocks.sh
            sigma=13.0,  # train-sciart-8blocks.sh
            visibility_threshold=0.03,  # train-sciart-8blocks.sh: block8_ssim0.03; the example in data_partition.sh has 0.05
            downscale=4,  # train-sciart-8blocks.sh
        ),
        # In the paper's tables, but neither its training script nor its partition is in the release.
        PublishedScene(
            data_set="urban_scene3d",
            name="campus",
            block_dim=None,
            aabb=None,
            consistency_weight=None,
            sigma=None,
            visibility_threshold=None,
            downscale=4,  # docs/prepare_data.md: "all images by a factor of 4 (except for MatrixCity"
        ),
        PublishedScene(
            data_set="matrix_city",
            name="aerial",
            block_dim=(2, 4, 1),  # train-matrixcity-8blocks.sh; z is the vertical
            aabb=(-3.5, -4.0, -10.0, 4.5, 2.0, 10.0),  # train-matrixcity-8blocks.sh and data_partition.sh; units of 100 m
            consistency_weight=50.0,  # train-matrixcity-8blocks.sh
            sigma=9.0,  # train-matrixcity-8blocks.sh
            visibility_threshold=0.05,  # train-matrixcity-8blocks.sh: block8_ssim0.05; data_partition.sh: 0.05
            downscale=None,  # train-matrixcity-8blocks.sh: resolution −1
            widest_image=1600,  # utils/camera_utils.py for resolution −1; script/data_preparation/downsample_matrixcity.py
        ),
    )
}
"""By the name of the scene."""
