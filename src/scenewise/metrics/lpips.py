"""LPIPS, with a backbone and heads from a file the user gives.

The weights are not part of this package (their licence and training data are ImageNet's and BAPPS's).  Without a file the
figure is None; nothing else is ever reported under its name.
"""

from pathlib import Path
from typing import Literal, final

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from scenewise.errors import DataFormatError, ShapeError

Backbone = Literal["vgg16", "alexnet"]

# (index in torchvision's `features`, in, out, kernel, stride, padding); a ReLU follows each.
_CONVOLUTIONS: dict[str, tuple[tuple[int, int, int, int, int, int], ...]] = {
    "vgg16": (
        (0, 3, 64, 3, 1, 1),
        (2, 64, 64, 3, 1, 1),
        (5, 64, 128, 3, 1, 1),
        (7, 128, 128, 3, 1, 1),
        (10, 128, 256, 3, 1, 1),
        (12, 256, 256, 3, 1, 1),
        (14, 256, 256, 3, 1, 1),
        (17, 256, 512, 3, 1, 1),
        (19, 512, 512, 3, 1, 1),
        (21, 512, 512, 3, 1, 1),
        (24, 512, 512, 3, 1, 1),
        (26, 512, 512, 3, 1, 1),
        (28, 512, 512, 3, 1, 1),
    ),
    "alexnet": (
        (0, 3, 64, 11, 4, 2),
        (3, 64, 192, 5, 1, 2),
        (6, 192, 384, 3, 1, 1),
        (8, 384, 256, 3, 1, 1),
        (10, 256, 256, 3, 1, 1),
    ),
}
_POOLS: dict[str, tuple[tuple[int, int, int], ...]] = {  # (index, kernel, stride)
    "vgg16": ((4, 2, 2), (9, 2, 2), (16, 2, 2), (23, 2, 2)),
    "alexnet": ((2, 3, 2), (5, 3, 2)),
}
_TAPS: dict[str, tuple[int, ...]] = {"vgg16": (3, 8, 15, 22, 29), "alexnet": (1, 4, 7, 9, 11)}  # the ReLUs that are compared
_SHIFT = (-0.030, -0.088, -0.188)  # ImageNet's mean and deviation, for inputs in [−1, 1]
_SCALE = (0.458, 0.448, 0.450)
_SMALLEST_SIDE = {"vgg16": 16, "alexnet": 63}


@final
class Lpips(nn.Module):
    """Learned perceptual distance of two pictures.

    Both are mapped from [0, 1] to [−1, 1], shifted and scaled per channel, and run through the backbone.  At five layers the
    features are normalised to unit length per pixel; squared differences are weighted per channel by a head, averaged over the
    picture, and the five values are added.  Source: Zhang et al. 2018, arXiv 1801.03924, Eq. 1 (version 0.1 of the weights).

    Args:
        backbone: "vgg16" (what papers on splatting report) or "alexnet".
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        layers: dict[int, nn.Module] = {}
        for index, inputs, outputs, kernel, stride, padding in _CONVOLUTIONS[backbone]:
            layers[index] = nn.Conv2d(inputs, outputs, kernel, stride, padding)
            layers[index + 1] = nn.ReLU()
        for index, kernel, stride in _POOLS[backbone]:
            layers[index] = nn.MaxPool2d(kernel, stride)
        self.features = nn.Sequential(*(layers[index] for index in range(_TAPS[backbone][-1] + 1)))
        channels = {index + 1: outputs for index, _, outputs, _, _, _ in _CONVOLUTIONS[backbone]}
        self.heads = nn.ParameterList([torch.zeros(channels[tap]) for tap in _TAPS[backbone]])
        self.register_buffer("shift", torch.tensor(_SHIFT).view(3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(_SCALE).view(3, 1, 1), persistent=False)
        self.requires_grad_(False)

    def forward(self, image: Float[Tensor, "height width 3"], truth: Float[Tensor, "height width 3"]) -> Float[Tensor, ""]:
        """The distance, 0 for equal pictures.

        Args:
            image: rendered picture in [0, 1].
            truth: photograph in [0, 1].

        Raises:
            ShapeError: sizes differ, or the pictures are too small for the backbone's pooling.
        """
        if image.shape != truth.shape:
            raise ShapeError("truth", expected=f"{tuple(image.shape)}", got=f"{tuple(truth.shape)}")
        smallest = _SMALLEST_SIDE[self.backbone]
        if min(image.shape[:2]) < smallest:
            raise ShapeError(
                "image", expected=f"at least {smallest}×{smallest} pixels for {self.backbone}", got=tuple(image.shape[:2])
            )
        assert isinstance(self.shift, Tensor) and isinstance(self.scale, Tensor)
        pair = torch.stack([image, truth]).permute(0, 3, 1, 2)
        current = ((2 * pair - 1) - self.shift) / self.scale
        taps, heads = _TAPS[self.backbone], iter(self.heads)
        distance = current.new_zeros(())
        for index, layer in enumerate(self.features):
            current = layer(current)
            if index in taps:
                unit = current / (current.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)
                squared = (unit[0] - unit[1]).square()
                distance = distance + torch.einsum("chw,c->hw", squared, next(heads)).mean()
        return distance


def load_lpips(path: str | Path) -> Lpips:
    """LPIPS with the weights of a safetensors file.

    The file holds the backbone in torchvision's naming (``features.0.weight``, ``features.0.bias``, …; ``classifier.*`` is
    ignored) and the five heads in LPIPS's naming (``lin0.model.1.weight`` … ``lin4.model.1.weight``, shape [1, channels, 1, 1]).
    Whether it is VGG16 or AlexNet is told by the first convolution.

    Args:
        path: the file.

    Returns:
        The network in evaluation mode, float32, on the CPU.

    Raises:
        DataFormatError: unreadable, of another architecture, a tensor missing, unknown, of another shape, or not finite.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise DataFormatError(
            path,
            expected="a .safetensors file",
            got=f"{path.suffix or 'no'} suffix",
            fix="convert .pth files once with scenewise convert-weights BACKBONE --lpips-heads HEADS --out FILE",
        )
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys() if not name.startswith("classifier.")}  # noqa: SIM118
            backbone = backbone_of(path, shapes.get("features.0.weight"))
            expected = expected_shapes(backbone)
            _compare(path, shapes, expected)
            tensors = {name: file.get_tensor(name).float() for name in expected}
    except (SafetensorError, OSError) as error:
        raise DataFormatError(
            path, expected="a safetensors file", got=str(error), fix="check the path, or convert again"
        ) from error
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise DataFormatError(path, name, expected="finite values", got="NaN or Inf")
    return lpips_from_tensors(backbone, tensors)


def lpips_from_tensors(backbone: Backbone, tensors: dict[str, Tensor]) -> Lpips:
    """The network with tensors named and shaped as ``expected_shapes`` says."""
    network = Lpips(backbone)
    network.features.load_state_dict(
        {name.removeprefix("features."): t for name, t in tensors.items() if name.startswith("features.")}
    )
    for level, head in enumerate(network.heads):
        head.copy_(tensors[f"lin{level}.model.1.weight"].reshape(-1))
    return network.eval()


def expected_shapes(backbone: Backbone) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor that a weights file must hold."""
    shapes: dict[str, tuple[int, ...]] = {}
    channels = {}
    for index, inputs, outputs, kernel, _, _ in _CONVOLUTIONS[backbone]:
        shapes[f"features.{index}.weight"] = (outputs, inputs, kernel, kernel)
        shapes[f"features.{index}.bias"] = (outputs,)
        channels[index + 1] = outputs
    for level, tap in enumerate(_TAPS[backbone]):
        shapes[f"lin{level}.model.1.weight"] = (1, channels[tap], 1, 1)
    return shapes


def backbone_of(path: Path, first: tuple[int, ...] | None) -> Backbone:
    for backbone in ("vgg16", "alexnet"):
        if first == expected_shapes(backbone)["features.0.weight"]:
            return backbone
    raise DataFormatError(
        path,
        "features.0.weight",
        expected="[64, 3, 3, 3] (VGG16) or [64, 3, 11, 11] (AlexNet)",
        got="no such tensor" if first is None else list(first),
        fix="store the backbone under torchvision's names",
    )


def _compare(path: Path, shapes: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]]) -> None:
    for name, shape in expected.items():
        if shapes.get(name) != shape:
            got = list(shapes[name]) if name in shapes else "no such tensor"
            raise DataFormatError(path, name, expected=f"shape {list(shape)}", got=got)
    unknown = sorted(set(shapes) - set(expected))
    if unknown:
        raise DataFormatError(path, unknown[0], expected="only the backbone's and the heads' tensors", got="an unknown tensor")
