"""Anchors and their decoder as a field."""

from dataclasses import dataclass
from typing import final

from jaxtyping import Float, Int64
from torch import Tensor

from scenewise.errors import ConventionError
from scenewise.kernels.anchor_decoder import AnchorInput, Backend, DecoderHeads, decode, visible_rows
from scenewise.parts.splats.adam import FreeParameters
from scenewise.parts.splats.anchors.decoder import AnchorDecoder
from scenewise.parts.splats.fields import DecodedGaussians
from scenewise.parts.splats.schedules import exponential
from scenewise.parts.splats.store import ParameterStore
from scenewise.scenes.anchors import Anchors
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.gaussians import Gaussians


@dataclass(frozen=True)
class AnchorRates:
    """Adam's learning rates of the anchors; positions stay where they are.

    Source: Lu et al. 2024 (Scaffold-GS), released code.  There the offsets' rate is also multiplied by the scene's extent,
    although offsets are multiples of the anchor's own scale; here the unit of length does not matter.

    Attributes:
        offsets: at the start and at the end, log-linear between.
        features: constant.
        log_scales: constant.
    """

    offsets: tuple[float, float] = (1e-2, 1e-4)
    features: float = 7.5e-3
    log_scales: float = 7e-3


@dataclass(frozen=True)
class DecodedAnchors(DecodedGaussians):
    """Gaussians as a camera sees them, and all that was decoded on the way.

    Attributes:
        slot_of: which of its anchor's children each Gaussian is.
        visible: anchors that were decoded, rising.
        opacities: tanh(·) of all their children, also of those at or below 0, which are no Gaussians; no gradient.
        differences: from the teacher's (:class:`scenewise.kernels.anchor_decoder.DecodedChildren`), or None.
    """

    slot_of: Int64[Tensor, "n"] | None = None
    visible: Int64[Tensor, "visible"] | None = None
    opacities: Float[Tensor, "visible slots"] | None = None
    differences: Float[Tensor, "4"] | None = None


@final
class AnchorField:
    """Gaussians decoded from anchors for each camera.  Source: Lu et al. 2024 (Scaffold-GS), section 3.2.

    Args:
        anchors: initial values; copied.
        decoder: the network.
        rates: of the anchors.
        is_lent: the decoder is somebody else's, who also lets it learn; this field does not name it among what it has to save.
        backend: of the decoder.

    Attributes:
        teacher: heads that every view is compared with, or None.
        teacher_passes_gradients: whether that moves the anchors by way of the teacher.
    """

    def __init__(
        self, anchors: Anchors, decoder: AnchorDecoder, rates: AnchorRates, *, is_lent: bool = False, backend: Backend = "auto"
    ) -> None:
        self._decoder, self._rates, self._is_lent, self._backend = decoder, rates, is_lent, backend
        self.teacher: DecoderHeads | None = None
        self.teacher_passes_gradients = False
        self._store = ParameterStore(
            vars(anchors),
            # Positions never receive a gradient; a rate is asked for all the same.
            {"positions": 0.0, "offsets": rates.offsets[0], "features": rates.features, "log_scales": rates.log_scales},
        )

    @property
    def store(self) -> ParameterStore:
        """One row per anchor."""
        return self._store

    @property
    def decoder(self) -> AnchorDecoder:
        """The network."""
        return self._decoder

    @property
    def shared(self) -> FreeParameters | None:
        """The decoder's parameters, unless it is lent."""
        return None if self._is_lent else self._decoder.parameters

    def anchors(self) -> Anchors:
        """The stored parameters themselves."""
        return Anchors(**{name: self._store[name] for name in self._store})

    def decoded(self, camera: Cameras | None = None) -> DecodedAnchors:
        """The children that a camera sees.

        Raises:
            ConventionError: no camera; nobody in particular sees nothing in particular.
        """
        if camera is None:
            raise ConventionError("camera", expected="one: anchors are decoded for a camera", got=None, fix="bake them first")
        return decoded_anchors(
            self.anchors(), self._decoder.heads(), camera, self.teacher, self.teacher_passes_gradients, self._backend
        )

    def gaussians(self, camera: Cameras | None = None) -> Gaussians:
        """Those of :meth:`decoded`."""
        return self.decoded(camera).gaussians

    def set_sh_degree(self, degree: int) -> None:
        """Nothing: colours depend on the direction by way of the decoder."""

    def set_learning_rates(self, progress: float) -> None:
        """Offsets' rate falls; the decoder's too, unless it is lent."""
        self._store.set_learning_rate("offsets", exponential(*self._rates.offsets, progress))
        if not self._is_lent:
            self._decoder.set_learning_rates(progress)


def decoded_anchors(
    anchors: Anchors,
    heads: DecoderHeads,
    camera: Cameras,
    teacher: DecoderHeads | None = None,
    teacher_passes_gradients: bool = False,
    backend: Backend = "auto",
) -> DecodedAnchors:
    """The children of anchors that a camera sees.

    Args:
        anchors: all of them.
        heads: the decoder.
        camera: one, without batch axes.
        teacher: compared with, or None.
        teacher_passes_gradients: see :class:`AnchorInput`.
        backend: of the decoder.
    """
    positions = anchors.positions
    rows = visible_rows(positions, anchors.log_scales, camera)
    center = camera.centers_in_world.to(device=positions.device, dtype=positions.dtype)
    children = decode(
        AnchorInput(
            positions=positions,
            offsets=anchors.offsets,
            features=anchors.features,
            log_scales=anchors.log_scales,
            rows=rows,
            center=center,
            heads=heads,
            teacher=teacher,
            teacher_passes_gradients=teacher_passes_gradients,
        ),
        backend,
    )
    gaussians = Gaussians(
        means=children.means,
        log_scales=children.log_scales,
        quats=children.quats,
        logit_opacities=children.logit_opacities,
        sh0=children.sh0,
        shN=children.sh0.new_zeros(len(children.means), 0, 3),
    )
    return DecodedAnchors(gaussians, children.row_of, children.slot_of, rows, children.opacities, children.differences)
