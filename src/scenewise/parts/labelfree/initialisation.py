"""A 3D student whose backbone begins where a pre-trained one ended."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from scenewise.errors import ConventionError
from scenewise.networks.backbones import Backbone3D
from scenewise.networks.consistent.point_branch import COLOR_CHANNELS
from scenewise.networks.sizes_only import sizes_only
from scenewise.parts.labelfree.students import PointStudent
from scenewise.teachers.consistent import open_pair

_FIX = "the --backbone and --width of the pre-trained network, or neither"


@dataclass(frozen=True)
class PretrainedBackbone:
    """The 3D branch of a pre-trained pair, without its heads.

    Attributes:
        name: ``condense`` or ``condense:RUN``.
        fingerprint: of its file.
        backbone: name of the network.
        width: multiple of its channels.
        in_channels: of a point's input.
        state: parameters and statistics by name.
        licence: of the weights; None = unknown.
    """

    name: str
    fingerprint: str
    backbone: str
    width: float
    in_channels: int
    state: Mapping[str, Tensor]
    licence: str | None

    def require_fitting(self, backbone: str, width: float, build: Callable[[int], Backbone3D]) -> None:
        """Refuses a student of another network, before anything is read or made.

        Args:
            backbone: name of the student's.
            width: of it.
            build: makes it from the number of input channels.

        Raises:
            ConventionError: another network, or the same at another width.
        """
        found = f"{backbone} of width {width:g}"
        if backbone != self.backbone:
            raise ConventionError("network to begin with", expected=self._described, got=found, fix=_FIX)
        with sizes_only():
            built = build(self.in_channels)
        assert isinstance(built, nn.Module)
        if _sizes(built.state_dict()) != _sizes(self.state):
            raise ConventionError("network to begin with", expected=self._described, got=found, fix=_FIX)

    def require_inputs(self, inputs: str) -> None:
        """Refuses points that lack what the network was given.

        Args:
            inputs: "colour", "intensity" or "ones".

        Raises:
            ConventionError: no colours.
        """
        if inputs != "colour":
            raise ConventionError(
                "points to learn from", expected=f"colour, which {self.name} was given", got=inputs, fix="leave --init out"
            )

    @property
    def _described(self) -> str:
        return f"{self.backbone} of width {self.width:g}, as {self.name} has"


def pretrained_backbone(name: str) -> PretrainedBackbone:
    """The 3D network of a pre-trained pair; the tower of its 2D branch is not opened.

    Args:
        name: ``condense`` (embedded) or ``condense:RUN``.

    Raises:
        ConventionError: no such name.
        DataFormatError: no such run, or a damaged file.
        ResourceError: no weights are embedded.
    """
    file = open_pair(name)
    shape = file.pair.shape
    state = {key: tensor.detach().clone() for key, tensor in file.pair.points.backbone.state_dict().items()}
    return PretrainedBackbone(
        name.strip(), file.fingerprint, shape.backbone, shape.backbone_width, COLOR_CHANNELS, state, file.about.licence
    )


def load_backbone(student: PointStudent, state: Mapping[str, Tensor]) -> None:
    """The student's backbone takes over parameters and statistics of batch norm; its head stays as it was drawn.

    Args:
        student: before its first step.
        state: of a backbone of the same sizes.

    Raises:
        ConventionError: of other sizes.
    """
    own = student.backbone.state_dict()
    if _sizes(own) != _sizes(state):
        name = next(key for key in sorted({**own, **state}) if _sizes(own).get(key) != _sizes(state).get(key))
        expected, got = (str(_sizes(each).get(name, "none")) for each in (own, state))
        raise ConventionError(f"pre-trained weights: {name}", expected=expected, got=got, fix=_FIX)
    student.backbone.load_state_dict(state)


def _sizes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}
