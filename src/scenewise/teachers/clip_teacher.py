"""A CLIP as a teacher of dense features: resize, windows, read-out."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from scenewise.errors import ConventionError
from scenewise.scenes.dense_fields import DenseField
from scenewise.scenes.frames import ImageU8
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.teachers.loaded_clip import LoadedClip
from scenewise.teachers.preprocessing import ResizeSettings, normalised_image
from scenewise.teachers.prompts import IMAGENET_TEMPLATES
from scenewise.teachers.read_outs import (
    ClipSettings,
    ReadOutSettings,
    ScClipSettings,
    dense_tokens,
    dense_tokens_from_pass,
    name_of,
)
from scenewise.teachers.read_outs.attention import projected_keys
from scenewise.teachers.read_outs.refine import smoothed_features
from scenewise.teachers.resnet_clip import ResNetClipTower, dense_path
from scenewise.teachers.towers import VisionTower
from scenewise.teachers.windows import WindowSettings, windowed_features

_METHOD = 1  # part of every fingerprint; raise it when the same settings begin to give other features


@dataclass(frozen=True)
class ClipTeacherSettings:
    """What is done with a CLIP.  Defaults: SC-CLIP's (Bai et al. 2024, arXiv 2411.15869) for towers trained on 224 pixels.

    Attributes:
        read_out: how patches are made to speak.
        resize: how large the image is shown.
        windows: which parts of it go through the tower.
        logit_scale: of the softmax over queries; the published value, not the one the model was trained to.
        templates: prompts.
        key_smoothing: patches of a window with similar keys in the last block share their features
            (:func:`scenewise.teachers.read_outs.refine.smoothed_features`).
    """

    read_out: ReadOutSettings = field(default_factory=ScClipSettings)
    resize: ResizeSettings = field(default_factory=ResizeSettings)
    windows: WindowSettings = field(default_factory=WindowSettings)
    logit_scale: float = 40.0
    templates: tuple[str, ...] = IMAGENET_TEMPLATES
    key_smoothing: bool = False


def settings_for_native_size(native_size: int, patch_size: int, settings: ClipTeacherSettings) -> ClipTeacherSettings:
    """The same proportions for a tower trained on another size.

    Windows of the native size, a stride of half of it, an image 1.5 windows high: the published 336, 224 and 112 for a native
    size of 224.  Half a patch is one cell.

    Args:
        native_size: height and width in pixels the tower was trained on.
        patch_size: of the tower.
        settings: whose other settings are kept.
    """
    crop = max(native_size // patch_size, 1) * patch_size
    return replace(
        settings,
        resize=replace(settings.resize, short_side=min(crop * 3 // 2, settings.resize.long_side)),
        windows=replace(settings.windows, crop=crop, stride=max(crop // 2, 1), cell=max(patch_size // 2, 1)),
    )


def whole_picture_settings(native_size: int, patch_size: int) -> ClipTeacherSettings:
    """For a tower that was trained to speak about patches at any size (DINOv2): the ordinary forward pass over the whole picture.

    The shorter side is the native size in whole patches, a cell half a patch.

    Args:
        native_size: height and width in pixels the tower was trained on.
        patch_size: of the tower.
    """
    side = max(native_size // patch_size, 1) * patch_size
    return ClipTeacherSettings(
        read_out=ClipSettings(),
        resize=ResizeSettings(short_side=side, long_side=max(side, ResizeSettings.long_side)),
        windows=WindowSettings(crop=None, cell=max(patch_size // 2, 1)),
    )


def fitting_read_out(tower: VisionTower | ResNetClipTower, settings: ReadOutSettings) -> ReadOutSettings:
    """The read-out as it makes sense for a tower.

    A tower that pools by attention (SigLIP) has no residual around its last attention, and its MLP is part of the way into the
    space shared with text: there ``keep_residual`` is false and ``keep_ffn`` true whatever the paper did to residual blocks.

    Raises:
        ConventionError: the read-out is about something the tower does not have.
    """
    if isinstance(tower, ResNetClipTower):
        dense_path(name_of(settings))
        return settings
    if tower.has_class_token:
        return settings
    if isinstance(settings, ClipSettings):
        raise ConventionError(
            "read-out",
            expected="a read-out along the value path: in a SigLIP only the pooling probe is ever a query",
            got="'clip'",
            fix="use maskclip or sc_clip",
        )
    names = {each.name for each in dataclasses.fields(settings)}
    wanted: dict[str, Any] = {"keep_residual": False, "keep_ffn": True}
    return replace(settings, **{name: value for name, value in wanted.items() if name in names})


@final
class ClipTeacher:
    """Dense features and text embeddings of one CLIP; see :class:`scenewise.teachers.protocol.Teacher`.

    Args:
        clip: both towers.
        settings: see there.

    Raises:
        ConventionError: read-out or windows do not fit the tower.
    """

    def __init__(
        self, clip: LoadedClip[VisionTower] | LoadedClip[ResNetClipTower], settings: ClipTeacherSettings | None = None
    ) -> None:
        settings = ClipTeacherSettings() if settings is None else settings
        read_out = fitting_read_out(clip.tower, settings.read_out)
        self.settings = replace(settings, read_out=read_out)
        self.clip = clip
        self._features_of = _features_function(clip.tower, read_out, settings.key_smoothing)
        crop = settings.windows.crop
        if crop is not None and crop % clip.tower.patch_size:
            raise ConventionError(
                "window crop",
                expected=f"a multiple of the patch size {clip.tower.patch_size}",
                got=crop,
                fix="choose another crop",
            )

    @property
    def name(self) -> str:
        """What a person called it."""
        return self.clip.name

    @property
    def fingerprint(self) -> str:
        """Hash of weights, read-out, resize and windows.  Prompts, scale and device do not change dense features."""
        kept = {
            "method": _METHOD,
            "weights": self.clip.fingerprint,
            "read_out": [name_of(self.settings.read_out), dataclasses.asdict(self.settings.read_out)],
            "resize": dataclasses.asdict(self.settings.resize),
            "windows": {key: value for key, value in dataclasses.asdict(self.settings.windows).items() if key != "batch"},
        }
        if self.settings.key_smoothing:
            kept["key_smoothing"] = True
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()

    @property
    def logit_scale(self) -> float:
        """What inner products are multiplied by before the softmax."""
        return self.settings.logit_scale

    @property
    def licence(self) -> str | None:
        """Of the weights."""
        return self.clip.licence

    @torch.no_grad()
    def dense(self, image: ImageU8, frame_name: str) -> DenseField | None:
        """Features of an image on a grid of cells; never None."""
        tower, settings = self.clip.tower, self.settings
        height, width = image.shape[:2]
        shown = normalised_image(image, settings.resize.size(height, width), tower.mean, tower.std)
        field_on_grid = windowed_features(
            shown.to(self.clip.device), self._features_of, patch_size=tower.patch_size, settings=settings.windows
        )
        return DenseField(field_on_grid.values.float().cpu().numpy(), height=height, width=width)

    @torch.no_grad()
    def embed_image(self, image: ImageU8) -> Float32[np.ndarray, "dim"]:
        """The ordinary unit embedding: shorter side to the native size, the middle square cut out, as CLIP does."""
        tower = self.clip.tower
        crop = max(tower.native_size // tower.patch_size, 1) * tower.patch_size
        height, width = ResizeSettings(short_side=crop, long_side=1 << 30).size(*image.shape[:2])
        shown = normalised_image(image, (height, width), tower.mean, tower.std)
        top, left = (height - crop) // 2, (width - crop) // 2
        middle = shown[None, :, top : top + crop, left : left + crop].to(self.clip.device)
        return tower.embed_images(middle)[0].float().cpu().numpy()

    def embed_text(self, phrases: Sequence[str], templates: Sequence[str]) -> Float32[np.ndarray, "phrases dim"]:
        """Unit embedding per phrase; see the protocol."""
        return self.clip.text.embed_text(phrases, templates)

    def default_templates(self) -> tuple[str, ...]:
        """The prompts of the settings."""
        return self.settings.templates

    def vocabulary(self) -> Vocabulary | None:
        """The words the model was trained on, where these are few; None: any word can be asked for."""
        return self.clip.vocabulary


_Windows = Float[Tensor, "batch 3 height width"]
_Features = Float[Tensor, "batch rows columns dim"]


def _features_function(
    tower: VisionTower | ResNetClipTower, read_out: ReadOutSettings, key_smoothing: bool
) -> Callable[[_Windows], _Features]:
    if isinstance(tower, ResNetClipTower):
        resnet = tower
        features_of = tower.value_features if dense_path(name_of(read_out)) == "value_features" else tower.attended_features
        return (lambda images: smoothed_features(features_of(images), resnet.keys(images))) if key_smoothing else features_of
    transformer = tower
    if not key_smoothing:
        return lambda images: dense_tokens(transformer, images, read_out)

    def smoothed(images: _Windows) -> _Features:
        tower_pass = transformer.tokens(images)
        features = dense_tokens_from_pass(transformer, tower_pass, read_out)
        keys = projected_keys(transformer.last_block, tower_pass.hidden[-1], tower_pass)
        return smoothed_features(features, keys.unflatten(1, features.shape[1:3]))

    return smoothed
