"""Segment Anything through ``transformers``: regions of everything in an image, and its encoder's features as a dense target."""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor

from scenewise.errors import ConventionError, DataFormatError, MissingDependencyError
from scenewise.scenes.dense_fields import DenseField
from scenewise.scenes.frames import ImageU8
from scenewise.scenes.partitions import Partition
from scenewise.teachers.model_folders import ModelFolder, check_tensor_shapes, find_model_folder, tensor_shapes
from scenewise.teachers.regions.painting import mask_boxes, paint_masks, painting_order, suppress_boxes

# Of ImageNet; every published SAM was trained with them.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_UPSCALED_TOGETHER = 16  # masks at the encoder's size (1024² floats each) in memory at a time
_MAX_IMAGE_SIZE = 4096

OFFLINE_CHOICES = 'give the path of a folder that holds a SAM, or "slic" or "felzenszwalb" (regions that need no model)'


@dataclass(frozen=True)
class SamSettings:
    """Settings of :class:`SamRegions`; those of masks are the published generator's (Kirillov et al. 2023, arXiv 2304.02643, §B).

    Attributes:
        points_per_side: the grid of prompts has this many squared.
        points_per_batch: prompts decoded together.
        min_predicted_iou: masks the model itself thinks worse of are dropped.
        min_stability: of the intersection over union of the mask at logits +offset and −offset.
        stability_offset: in logits.
        max_box_iou: of two masks whose boxes overlap more, the one with the lower predicted IoU is dropped.
        min_area: pixels; smaller masks are not painted.
    """

    points_per_side: int = 32
    points_per_batch: int = 64
    min_predicted_iou: float = 0.88
    min_stability: float = 0.95
    stability_offset: float = 1.0
    max_box_iou: float = 0.7
    min_area: int = 100

    def __post_init__(self) -> None:
        # Three masks per prompt; ids are stored in 16 bits.
        if not 1 <= self.points_per_side <= 147 or self.points_per_batch < 1:
            raise ConventionError(
                "points_per_side, points_per_batch",
                expected="1 to 147, and at least 1",
                got=(self.points_per_side, self.points_per_batch),
            )


@dataclass(frozen=True)
class MaskProposals:
    """Masks that passed the filters, best first; they overlap and leave holes.

    Attributes:
        packed: bits of the masks row by row, eight pixels to a byte.
        areas: pixels of each.
        scores: predicted intersection over union.
        boxes: left, top, right, bottom.
        height: of the image.
        width: of the image.
    """

    packed: UInt8[np.ndarray, "m bytes"]
    areas: Float32[np.ndarray, "m"]
    scores: Float32[np.ndarray, "m"]
    boxes: Float32[np.ndarray, "m 4"]
    height: int
    width: int

    def __len__(self) -> int:
        return len(self.packed)

    def mask(self, index: int) -> Bool[np.ndarray, "height width"]:
        """One of the masks."""
        bits = np.unpackbits(self.packed[index], count=self.height * self.width)
        return bits.reshape(self.height, self.width).astype(bool)


@final
class SamRegions:
    """Everything mode: a grid of point prompts, filters, box suppression, then painted by area so that small masks win.

    Args:
        model: a ``transformers.SamModel`` on ``device``.
        name: what a person called it.
        weights_fingerprint: changes with the weights.
        settings: defaults where None.
        device: of the model.
    """

    def __init__(
        self, model: Any, name: str, weights_fingerprint: str, settings: SamSettings | None = None, device: str = "cpu"
    ) -> None:
        self.settings = SamSettings() if settings is None else settings
        self._model, self._name, self._weights, self._device = model, name, weights_fingerprint, device
        vision = model.config.vision_config
        self._size, self._patch = int(vision.image_size), int(vision.patch_size)
        self._last: tuple[bytes, Tensor] | None = None  # regions and features of one frame need the same slow pass

    @property
    def name(self) -> str:
        """ "sam:" and the model."""
        return f"sam:{self._name}"

    @property
    def fingerprint(self) -> str:
        """Weights and settings; the batch size changes nothing."""
        settings = {key: value for key, value in asdict(self.settings).items() if key != "points_per_batch"}
        return f"sam-1 {self._weights} {sorted(settings.items())}"

    def regions(self, image: ImageU8) -> Partition:
        """A set per pixel: the smallest mask that covers it; −1 where none does."""
        proposals = self.masks(image)
        order = painting_order(proposals.areas.astype(np.int64), proposals.scores)
        layers = (proposals.mask(int(index)) for index in order)
        ids = paint_masks(layers, proposals.height, proposals.width, min_area=self.settings.min_area)
        return Partition.from_any_ids(ids, "sam", {"model": self._name, **asdict(self.settings)})

    @torch.no_grad()
    def masks(self, image: ImageU8) -> MaskProposals:
        """All masks before painting."""
        settings = self.settings
        height, width = image.shape[:2]
        embedding = self._embedding(image)
        points = self._prompts(height, width)
        packed, areas, scores, boxes = [], [], [], []
        for begin in range(0, len(points), settings.points_per_batch):
            prompts = points[begin : begin + settings.points_per_batch].to(self._device)
            answer = self._model(image_embeddings=embedding, input_points=prompts[None, :, None])
            low, predicted = answer.pred_masks[0].flatten(0, 1), answer.iou_scores[0].flatten()
            is_good = predicted > settings.min_predicted_iou
            for logits, score in zip(
                low[is_good].split(_UPSCALED_TOGETHER), predicted[is_good].split(_UPSCALED_TOGETHER), strict=True
            ):
                full = self.upscaled(logits, height, width)
                is_stable = stability_scores(full, settings.stability_offset) > settings.min_stability
                masks = full[is_stable] > 0
                packed.append(np.packbits(masks.flatten(1).cpu().numpy(), axis=1))
                areas.append(masks.sum(dim=(1, 2)).float())
                scores.append(score[is_stable])
                boxes.append(mask_boxes(masks))
        if not packed:
            none = np.empty(0, np.float32)
            return MaskProposals(
                np.empty((0, (height * width + 7) // 8), np.uint8), none, none, none.reshape(0, 4), height, width
            )
        all_scores, all_boxes = torch.cat(scores), torch.cat(boxes)
        kept = suppress_boxes(all_boxes, all_scores, settings.max_box_iou)
        return MaskProposals(
            packed=np.concatenate(packed)[kept.cpu().numpy()],
            areas=torch.cat(areas)[kept].cpu().numpy(),
            scores=all_scores[kept].float().cpu().numpy(),
            boxes=all_boxes[kept].cpu().numpy(),
            height=height,
            width=width,
        )

    @torch.no_grad()
    def image_features(self, image: ImageU8) -> DenseField:
        """What the image encoder says, on a grid over the image alone (its padding is cut off).

        These live in SAM's own space (256 numbers in the published models), not in a space of text: a target for students to
        match, never to be compared with words.
        """
        height, width = image.shape[:2]
        grid = self._embedding(image)
        rows, columns = (shown / self._patch for shown in self._shown_size(height, width))
        if rows.is_integer() and columns.is_integer():
            inside = grid[0, :, : int(rows), : int(columns)]
        else:  # the image ends inside a cell: read between the cells, at the centres of a grid that fits it
            fitting = max(1, round(rows)), max(1, round(columns))
            y, x = (
                ((torch.arange(count) + 0.5) * cells / count).to(grid)
                for count, cells in zip(fitting, (rows, columns), strict=True)
            )
            at = torch.stack(torch.meshgrid(2 * x / grid.shape[3] - 1, 2 * y / grid.shape[2] - 1, indexing="xy"), dim=-1)
            inside = F.grid_sample(grid, at[None], mode="bilinear", padding_mode="border", align_corners=False)[0]
        values = inside.permute(1, 2, 0).float().cpu().contiguous().numpy()
        return DenseField(values, height, width)

    def upscaled(self, logits: Float[Tensor, "m low low"], height: int, width: int) -> Float[Tensor, "m height width"]:
        """Mask logits at the image's size: to the encoder's square, without its padding, to the image."""
        rows, columns = self._shown_size(height, width)
        square = F.interpolate(logits[:, None].float(), (self._size, self._size), mode="bilinear", align_corners=False)
        return F.interpolate(square[..., :rows, :columns], (height, width), mode="bilinear", align_corners=False)[:, 0]

    def pixel_values(self, image: ImageU8) -> Float32[Tensor, "1 3 size size"]:
        """What the encoder takes: the longer side resized to its size, normalised, zeros below and to the right."""
        from PIL import Image

        rows, columns = self._shown_size(*image.shape[:2])
        resized = np.array(Image.fromarray(image).resize((columns, rows), Image.Resampling.BILINEAR))
        channels = torch.from_numpy(resized).permute(2, 0, 1).float() / 255.0
        channels = (channels - torch.tensor(_MEAN)[:, None, None]) / torch.tensor(_STD)[:, None, None]
        return F.pad(channels, (0, self._size - columns, 0, self._size - rows))[None]

    def _shown_size(self, height: int, width: int) -> tuple[int, int]:
        scale = self._size / max(height, width)
        return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))

    def _prompts(self, height: int, width: int) -> Float32[Tensor, "points 2"]:
        """Columns and rows of the middles of a grid of cells, in pixels of the resized image.

        The model adds half a pixel to what it is given; the published generator does not take it off beforehand, nor do we.
        """
        side = self.settings.points_per_side
        middles = (torch.arange(side, dtype=torch.float64) + 0.5) / side
        rows, columns = self._shown_size(height, width)
        y, x = torch.meshgrid(middles * rows, middles * columns, indexing="ij")
        return torch.stack([x.flatten(), y.flatten()], dim=1).float()

    @torch.no_grad()
    def _embedding(self, image: ImageU8) -> Float[Tensor, "1 channels rows columns"]:
        if min(image.shape[:2]) < 1:
            raise ConventionError("image", expected="at least one pixel", got=f"{image.shape[0]}×{image.shape[1]}")
        key = hashlib.sha256(image.tobytes()).digest() + repr(image.shape).encode()
        if self._last is None or self._last[0] != key:
            self._last = key, self._model.get_image_embeddings(self.pixel_values(image).to(self._device))
        return self._last[1]


def stability_scores(logits: Float[Tensor, "m height width"], offset: float) -> Float[Tensor, "m"]:
    """Area above +offset over area above −offset; NaN for a mask that is nowhere, which then passes no threshold."""
    return (logits > offset).sum(dim=(1, 2)) / (logits > -offset).sum(dim=(1, 2))


def load_sam(
    name: str, *, settings: SamSettings | None = None, device: str = "cpu", local_files_only: bool = False
) -> SamRegions:
    """A SAM from a folder in Hugging Face layout, or by its Hugging Face id, perhaps with ``@revision``.

    Raises:
        ResourceError: the model cannot be reached.
        DataFormatError: its files are not what they should be.
        MissingDependencyError: transformers is not installed.
    """
    from pathlib import Path

    plain, _, revision = (name, "", "") if Path(name).expanduser().exists() else name.partition("@")
    folder = find_model_folder(
        plain, ("sam",), revision=revision or None, local_files_only=local_files_only, offline_choices=OFFLINE_CHOICES
    )
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise MissingDependencyError("transformers", needed_for=f"regions by {name}", extra="foundation") from error
    from transformers.utils import logging

    was_showing = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        config = transformers.SamConfig.from_pretrained(folder.path, local_files_only=True)
        _check_weights(folder, config, transformers.SamModel)
        model = transformers.SamModel.from_pretrained(
            folder.path,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        )
    except (DataFormatError, MissingDependencyError):
        raise
    except Exception as error:  # transformers promises no closed set of errors for a damaged model
        lines = str(error).strip().splitlines() or ["no reason given"]
        raise DataFormatError(
            folder.path, expected="a SAM that transformers can load", got=f"{type(error).__name__}: {lines[0][:200]}"
        ) from error
    finally:
        if was_showing:
            logging.enable_progress_bar()
    model = model.eval().requires_grad_(False).to(device)
    return SamRegions(model, name, folder.fingerprint(), settings, device)


def _check_weights(folder: ModelFolder, config: Any, model_class: Any) -> None:
    """The files hold every tensor the configuration asks for, before anything of that size is allocated."""
    found = tensor_shapes(folder.weights)
    path, vision = folder.path / "config.json", config.vision_config
    for what, value, limit in (
        ("num_hidden_layers", vision.num_hidden_layers, len(found)),
        ("num_hidden_layers", config.mask_decoder_config.num_hidden_layers, len(found)),
        ("image_size", vision.image_size, _MAX_IMAGE_SIZE),
    ):
        if not 1 <= value <= limit:
            raise DataFormatError(path, what, expected=f"from 1 to {limit}", got=value)
    with torch.device("meta"):
        skeleton = model_class(config)
    check_tensor_shapes(folder.weights[0], found, {key: tuple(value.shape) for key, value in skeleton.named_parameters()})
