"""LPIPS on random weights against loops that follow the paper, and its file format."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from scenewise.commands.convert_weights.lpips import convert_lpips_weights
from scenewise.commands.convert_weights.options import ConvertWeightsOptions
from scenewise.commands.convert_weights.run import LpipsSummary, convert_weights_command
from scenewise.errors import DataFormatError, ShapeError
from scenewise.metrics.lpips import Backbone, expected_shapes, load_lpips, lpips_from_tensors


def random_tensors(backbone: Backbone, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in expected_shapes(backbone).items():
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 1
        values = torch.randn(shape, generator=generator)
        tensors[name] = (
            values.abs() if name.startswith("lin") else values * (2 / fan_in) ** 0.5 if len(shape) > 1 else 0.1 * values
        )
    return tensors


# What the backbones are, written down a second time from the papers: (convolution index, stride, padding) and pools.
ARCHITECTURE = {
    "vgg16": [
        [("conv", 0, 1, 1), ("conv", 2, 1, 1)],
        [("pool", 2, 2, 0), ("conv", 5, 1, 1), ("conv", 7, 1, 1)],
        [("pool", 2, 2, 0), ("conv", 10, 1, 1), ("conv", 12, 1, 1), ("conv", 14, 1, 1)],
        [("pool", 2, 2, 0), ("conv", 17, 1, 1), ("conv", 19, 1, 1), ("conv", 21, 1, 1)],
        [("pool", 2, 2, 0), ("conv", 24, 1, 1), ("conv", 26, 1, 1), ("conv", 28, 1, 1)],
    ],
    "alexnet": [
        [("conv", 0, 4, 2)],
        [("pool", 3, 2, 0), ("conv", 3, 1, 2)],
        [("pool", 3, 2, 0), ("conv", 6, 1, 1)],
        [("conv", 8, 1, 1)],
        [("conv", 10, 1, 1)],
    ],
}


def convolved(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int, padding: int) -> np.ndarray:
    """Cross-correlation, kernel tap by kernel tap, then ReLU."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    size = weight.shape[-1]
    rows, columns = ((side - size) // stride + 1 for side in x.shape[1:])
    result = np.zeros((len(weight), rows, columns)) + bias[:, None, None]
    for i in range(size):
        for j in range(size):
            patch = x[:, i : i + rows * stride : stride, j : j + columns * stride : stride][:, :rows, :columns]
            result += np.tensordot(weight[:, :, i, j], patch, axes=1)
    return np.maximum(result, 0)


def pooled(x: np.ndarray, size: int, stride: int) -> np.ndarray:
    rows, columns = ((side - size) // stride + 1 for side in x.shape[1:])
    result = np.full((len(x), rows, columns), -np.inf)
    for row in range(rows):
        for column in range(columns):
            window = x[:, row * stride : row * stride + size, column * stride : column * stride + size]
            result[:, row, column] = window.max(axis=(1, 2))
    return result


def lpips_by_loops(backbone: Backbone, tensors: dict[str, Tensor], image: Tensor, truth: Tensor) -> float:
    arrays = {name: tensor.double().numpy() for name, tensor in tensors.items()}
    shift, scale = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
    current = [((2 * side.double().numpy() - 1 - shift) / scale).transpose(2, 0, 1) for side in (image, truth)]
    total = 0.0
    for level, layers in enumerate(ARCHITECTURE[backbone]):
        for kind, number, stride, padding in layers:
            if kind == "pool":
                current = [pooled(side, number, stride) for side in current]
            else:
                weight, bias = arrays[f"features.{number}.weight"], arrays[f"features.{number}.bias"]
                current = [convolved(side, weight, bias, stride, padding) for side in current]
        head = arrays[f"lin{level}.model.1.weight"].reshape(-1)
        one, two = current
        for row in range(one.shape[1]):
            for column in range(one.shape[2]):
                a, b = one[:, row, column], two[:, row, column]
                difference = a / (np.linalg.norm(a) + 1e-10) - b / (np.linalg.norm(b) + 1e-10)
                total += float(head @ difference**2) / (one.shape[1] * one.shape[2])
    return total


@pytest.mark.parametrize(("backbone", "height", "width"), [("vgg16", 18, 22), ("alexnet", 67, 71)])
def test_equals_the_loop_on_random_weights(backbone: Backbone, height: int, width: int, tmp_path: Path) -> None:
    tensors = random_tensors(backbone)
    save_file(tensors, tmp_path / "weights.safetensors")
    network = load_lpips(tmp_path / "weights.safetensors")
    generator = torch.Generator().manual_seed(1)
    image, truth = torch.rand(height, width, 3, generator=generator), torch.rand(height, width, 3, generator=generator)
    expected = lpips_by_loops(backbone, tensors, image, truth)
    assert network.backbone == backbone
    assert float(network(image, truth)) == pytest.approx(expected, rel=1e-4)
    assert float(network(truth, truth)) == 0.0


def test_input_range_matters() -> None:
    # Fed with [−1, 1] as if it were [0, 1], the figure is another one: the scaling is part of the protocol.
    network = lpips_from_tensors("alexnet", random_tensors("alexnet"))
    generator = torch.Generator().manual_seed(2)
    image, truth = torch.rand(64, 64, 3, generator=generator), torch.rand(64, 64, 3, generator=generator)
    assert abs(float(network(image, truth)) - float(network(2 * image - 1, 2 * truth - 1))) > 1e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("lin3.model.1.weight"), "lin3.model.1.weight: expected shape .* got no such tensor"),
        (lambda t: t.update({"features.3.bias": torch.zeros(7)}), r"features.3.bias: expected shape \[192\], got \[7\]"),
        (lambda t: t.update({"head.weight": torch.zeros(7)}), "head.weight: .*unknown tensor"),
        (lambda t: t.pop("features.0.weight"), "features.0.weight: expected .*VGG16"),
        (lambda t: t["features.3.bias"].fill_(float("nan")), "features.3.bias: expected finite values"),
    ],
)
def test_wrong_files_are_named(change, message: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    tensors = random_tensors("alexnet")
    change(tensors)
    save_file(tensors, tmp_path / "weights.safetensors")
    with pytest.raises(DataFormatError, match=message):
        load_lpips(tmp_path / "weights.safetensors")


def test_classifier_of_torchvision_is_ignored(tmp_path: Path) -> None:
    save_file(random_tensors("alexnet") | {"classifier.1.weight": torch.zeros(2)}, tmp_path / "weights.safetensors")
    assert load_lpips(tmp_path / "weights.safetensors").backbone == "alexnet"


@pytest.mark.parametrize("content", [b"", b"\x80\x04junk", b"\xff" * 40])
def test_broken_files_and_pickles_are_refused(content: bytes, tmp_path: Path) -> None:
    for name in ("weights.safetensors", "weights.pth"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataFormatError, match="safetensors"):
            load_lpips(tmp_path / name)
    with pytest.raises(DataFormatError):
        load_lpips(tmp_path / "not_there.safetensors")


def test_conversion_from_pth(tmp_path: Path) -> None:
    tensors = random_tensors("alexnet")
    torch.save(
        {n: t for n, t in tensors.items() if n.startswith("features")} | {"classifier.6.bias": torch.zeros(3)}, tmp_path / "b.pth"
    )
    torch.save({n: t for n, t in tensors.items() if n.startswith("lin")}, tmp_path / "h.pth")
    out = tmp_path / "w.safetensors"
    summary = convert_weights_command(ConvertWeightsOptions(tmp_path / "b.pth", out, lpips_heads=tmp_path / "h.pth"))
    assert summary == LpipsSummary(out, out.stat().st_size) and f"--lpips-weights {out}" in summary.text()
    assert torch.equal(load_lpips(out).heads[2].data, tensors["lin2.model.1.weight"].reshape(-1))
    with pytest.raises(DataFormatError, match=r"h.pth: features.0.weight|features.0.weight: expected a tensor"):
        convert_lpips_weights(tmp_path / "h.pth", tmp_path / "h.pth", tmp_path / "w2.safetensors")
    assert not (tmp_path / "w2.safetensors").exists()


class _Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("executed",))


def test_conversion_refuses_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"features.0.weight": _Payload()}, tmp_path / "evil.pth")
    with pytest.raises(DataFormatError, match="plain tensors"):
        convert_lpips_weights(tmp_path / "evil.pth", tmp_path / "evil.pth", tmp_path / "w.safetensors")
    assert "executed" not in capsys.readouterr().out


@pytest.mark.errors
def test_sizes() -> None:
    network = lpips_from_tensors("vgg16", random_tensors("vgg16"))
    with pytest.raises(ShapeError, match="truth"):
        network(torch.zeros(20, 20, 3), torch.zeros(20, 21, 3))
    with pytest.raises(ShapeError, match="at least 16×16"):
        network(torch.zeros(15, 20, 3), torch.zeros(15, 20, 3))
