"""A field whose rows are not Gaussians: each anchor has several, and which of them there are depends on who looks."""

from typing import final

import torch
from torch import Tensor

from scenewise.parts.splats.adam import FreeParameters
from scenewise.parts.splats.fields import DecodedGaussians
from scenewise.parts.splats.store import ParameterStore
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.gaussians import Gaussians


@final
class AnchorField:
    """k Gaussians around each anchor, like it but for their place; a camera does not see those far to its left.

    Args:
        anchors: initial values.
        each: k.
        hidden_left_of: how far to the left of the middle Gaussians are still there, in world units.
    """

    def __init__(self, anchors: Gaussians, each: int = 3, hidden_left_of: float = 0.3) -> None:
        offsets = 0.1 * torch.randn(len(anchors), each, 3, generator=torch.Generator().manual_seed(4))
        values = {name: value for name, value in vars(anchors).items() if name != "shN"} | {"offsets": offsets}
        self._store = ParameterStore(values, dict.fromkeys(values, 5e-3), track_identity=True)
        self._hidden_left_of = hidden_left_of

    @property
    def store(self) -> ParameterStore:
        return self._store

    @property
    def shared(self) -> FreeParameters | None:
        return None

    def decoded(self, camera: Cameras | None = None) -> DecodedGaussians:
        store, (rows, each) = self._store, self._store["offsets"].shape[:2]
        means = (store["means"][:, None] + store["offsets"]).flatten(0, 1)
        row_of = torch.arange(rows).repeat_interleave(each)
        if camera is not None:
            pose = camera.camera_from_world.float()
            row_of_kept = (means.detach() @ pose[0, :3] + pose[0, 3] > -self._hidden_left_of).nonzero()[:, 0]
            means, row_of = means[row_of_kept], row_of[row_of_kept]

        def own(name: str) -> Tensor:
            return store[name][row_of]

        gaussians = Gaussians(
            means, own("log_scales"), own("quats"), own("logit_opacities"), own("sh0"), means.new_zeros(len(means), 0, 3)
        )
        return DecodedGaussians(gaussians, row_of)

    def gaussians(self, camera: Cameras | None = None) -> Gaussians:
        return self.decoded(camera).gaussians

    def set_sh_degree(self, degree: int) -> None:
        pass

    def set_learning_rates(self, progress: float) -> None:
        pass
