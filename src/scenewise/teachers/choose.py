"""One name, one teacher."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from scenewise.errors import ConventionError, ResourceError
from scenewise.scenes.class_colors import class_colors
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.teachers.choice import CONSISTENT, TeacherChoice, is_consistent
from scenewise.teachers.protocol import Teacher
from scenewise.teachers.read_outs.settings import (
    READ_OUTS,
    ReadOutSettings,
    ScClipSettings,
    name_of,
    read_out_changed,
    read_out_named,
)

if TYPE_CHECKING:
    from scenewise.teachers.clip_teacher import ClipTeacher, ClipTeacherSettings
    from scenewise.teachers.loaded_clip import LoadedClip
    from scenewise.teachers.resnet_clip import ResNetClipTower
    from scenewise.teachers.towers import VisionTower

SMALL_CLIP = "small-clip"
EMBEDDED = (SMALL_CLIP, CONSISTENT)
"""Models that come with the package: they have only ever seen procedural rooms."""
FILES_PREFIX = "files:"

SMALL_CLIP_READ_OUT: ReadOutSettings = ScClipSettings(
    repair=False,
    feature_adjust=False,
    attention_adjust=False,
    two_pass=False,
    output_beta=0.6,
    class_residual=0.3,
    own_attention="value",
    keep_ffn=True,
)
"""What suits the embedded model, chosen on validation rooms: it has no anomalous tokens to repair."""


def open_teacher(
    name: str,
    *,
    read_out: str | ReadOutSettings | None = None,
    settings: "ClipTeacherSettings | None" = None,
    text_from: str | None = None,
    key_smoothing: bool = False,
    device: str | None = None,
    local_files_only: bool = False,
    method_read_out: str | None = None,
) -> Teacher:
    """The teacher a person asked for.

    Args:
        name: ``small-clip`` (embedded), ``files:DIR`` (features, probabilities or labels from files), a folder with a CLIP,
            SigLIP or DINOv2 in Hugging Face layout or a ResNet CLIP in open_clip layout, or a Hugging Face id, perhaps with
            ``@revision``.  A DINOv2 gives features and understands no words.  ``condense`` and ``condense:RUN`` are pre-trained
            pairs of branches, which also name points without pictures
            (:class:`~scenewise.teachers.consistent.ConsistentFeatures`).
        read_out: name of a read-out with its published settings, or settings; None takes what suits the model: SC-CLIP, MaskCLIP
            for a ResNet, the ordinary patch tokens ("clip") for a DINOv2.  Goes before the one in ``settings``.
        settings: everything about a CLIP; None takes the published proportions at the size the tower was trained on.
        text_from: for ``files:DIR``, the teacher whose text tower shares the space of the files' features, so that any words can
            be asked for.
        key_smoothing: as in :class:`~scenewise.teachers.clip_teacher.ClipTeacherSettings`; also on where ``settings`` say so.
        device: "cpu", "cuda", "cuda:1" …; None takes CUDA where there is a device, else the CPU.
        local_files_only: never ask the network.
        method_read_out: in place of SC-CLIP, where neither read-out nor settings are given; see
            :class:`~scenewise.teachers.choice.TeacherChoice`.

    Raises:
        ResourceError: the model cannot be reached, or the device is not there.
        DataFormatError: files of the model are not what they should be.
        ConventionError: the read-out does not fit the model, or what is opened gives finished features and takes none.
        MissingDependencyError: transformers is not installed.
    """
    name = name.strip()
    if read_out is not None or settings is not None or key_smoothing:
        _require_readable(name, "key smoothing" if key_smoothing else repr(read_out or settings))
    if name.startswith(FILES_PREFIX):
        from scenewise.teachers.from_files import FilesTeacher

        words = None if text_from is None else open_teacher(text_from, device=device, local_files_only=local_files_only)
        return FilesTeacher(Path(name.removeprefix(FILES_PREFIX)).expanduser(), words)
    if text_from is not None:
        raise ConventionError("text_from", expected="only with files:DIR; a CLIP has its own text tower", got=repr(text_from))
    if is_consistent(name):
        from scenewise.teachers.consistent import open_consistent

        return open_consistent(name, device=device, local_files_only=local_files_only)
    chosen = read_out_named(read_out) if isinstance(read_out, str) else read_out
    usual = None if method_read_out is None else read_out_named(method_read_out)
    return _open_clip(name, (chosen, usual), settings, key_smoothing, chosen_device(device), local_files_only)


def _require_readable(name: str, asked: str) -> None:
    """Refuses ways of reading what is read in one way only; ConventionError."""
    if name.startswith(FILES_PREFIX):
        raise ConventionError("read-out", expected="none for a teacher from files: they hold finished features", got=asked)
    if is_consistent(name):
        raise ConventionError("read-out", expected=f"none for {name}, whose branches give finished features", got=asked)


def open_choice(choice: TeacherChoice) -> Teacher:
    """The teacher of a choice; see :func:`open_teacher`, which raises the same."""
    return open_teacher(
        choice.teacher,
        read_out=read_out_changed(choice.read_out, choice.read_out_settings),
        text_from=choice.text_from,
        key_smoothing=choice.key_smoothing,
        device=choice.device,
        method_read_out=choice.method_read_out,
    )


def read_out_text(teacher: Teacher) -> str | None:
    """What a teacher is read with, and what of its published settings is changed: "maskclip", "sc_clip(repair=False)"; None where
    its answers come finished.
    """
    from scenewise.teachers.clip_teacher import ClipTeacher

    if not isinstance(teacher, ClipTeacher):
        return None
    settings = teacher.settings.read_out
    name = name_of(settings)
    published = vars(READ_OUTS[name])
    changed = ", ".join(f"{key}={value}" for key, value in vars(settings).items() if value != published[key])
    return f"{name}({changed})" if changed else name


def with_absolute_folders(choice: TeacherChoice) -> TeacherChoice:
    """The same choice with the whole path of a folder, so that a later question finds it from anywhere."""
    return replace(choice, teacher=with_absolute_folder(choice.teacher))


def with_absolute_folder(name: str) -> str:
    """A teacher's name with the whole path of its folder, where it has one."""
    for prefix in (FILES_PREFIX, f"{CONSISTENT}:"):
        place = name.strip().removeprefix(prefix)
        if place != name.strip() and place.strip():
            return prefix + str(Path(place.strip()).expanduser().resolve())
    folder = Path(name).expanduser()
    is_model = folder.is_dir() and (folder / "config.json").exists()
    return str(folder.resolve()) if is_model and not is_consistent(name) else name


def chosen_device(device: str | None) -> str:
    """The device to compute on: what was asked for, or CUDA where there is one, or the CPU.

    Raises:
        ResourceError: CUDA was asked for and is not there.
        ConventionError: torch knows no such device.
    """
    import torch

    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device)
    except RuntimeError as error:
        raise ConventionError("device", expected='"cpu", "cuda" or "cuda:N"', got=repr(device)) from error
    if kind.type == "cuda" and (kind.index or 0) >= torch.cuda.device_count():
        raise ResourceError("device", expected="a CUDA device", got=f"{torch.cuda.device_count()} of them", fix='use "cpu"')
    return device


def _open_clip(
    name: str,
    read_outs: tuple[ReadOutSettings | None, ReadOutSettings | None],
    settings: "ClipTeacherSettings | None",
    key_smoothing: bool,
    device: str,
    local_files_only: bool,
) -> "ClipTeacher":
    from scenewise.teachers.clip_teacher import ClipTeacher, ClipTeacherSettings, settings_for_native_size, whole_picture_settings
    from scenewise.teachers.dinov2 import Dinov2Tower
    from scenewise.teachers.resnet_clip import ResNetClipTower

    read_out, usual = read_outs  # asked for; usual for vision transformers
    clip: LoadedClip[VisionTower] | LoadedClip[ResNetClipTower]
    suited = ClipTeacherSettings()
    if name == SMALL_CLIP:
        clip, suited = _small_clip(device)
    else:
        clip = _load(name, device, local_files_only)
        if isinstance(clip.tower, Dinov2Tower):
            suited = whole_picture_settings(clip.tower.native_size, clip.tower.patch_size)
        else:
            if isinstance(clip.tower, ResNetClipTower):
                suited = replace(suited, read_out=read_out_named("maskclip"))
            elif usual is not None:
                suited = replace(suited, read_out=usual)
            suited = settings_for_native_size(clip.tower.native_size, clip.tower.patch_size, suited)
    if settings is None:
        settings = suited
    if read_out is not None:
        settings = replace(settings, read_out=read_out)
    if key_smoothing:
        settings = replace(settings, key_smoothing=True)
    return ClipTeacher(clip, settings)


def _load(name: str, device: str, local_files_only: bool) -> "LoadedClip[VisionTower] | LoadedClip[ResNetClipTower]":
    from scenewise.teachers.dinov2 import DINOV2_TYPES, load_dinov2_folder
    from scenewise.teachers.hugging_face import MODEL_TYPES, load_hugging_face_folder
    from scenewise.teachers.model_folders import find_model_folder
    from scenewise.teachers.resnet_clip import load_resnet_clip_folder

    plain, _, revision = (name, "", "") if Path(name).expanduser().exists() else name.partition("@")
    known = (*MODEL_TYPES, *DINOV2_TYPES)
    folder = find_model_folder(plain, known, revision=revision or None, local_files_only=local_files_only)
    if folder.layout == "open_clip":
        return load_resnet_clip_folder(name, folder, device=device)
    if folder.model_type in DINOV2_TYPES:
        return load_dinov2_folder(name, folder, device=device)
    return load_hugging_face_folder(name, folder, device=device)


def _small_clip(device: str) -> "tuple[LoadedClip[VisionTower], ClipTeacherSettings]":
    """The embedded model; windows of its native size on an image 2.5 times as high."""
    import hashlib

    from scenewise.teachers.clip_teacher import ClipTeacherSettings
    from scenewise.teachers.loaded_clip import LoadedClip
    from scenewise.teachers.preprocessing import ResizeSettings
    from scenewise.teachers.small_clip import LICENCE, WEIGHTS, load_small_clip
    from scenewise.teachers.windows import WindowSettings

    model = load_small_clip()
    model.network.to(device)
    nouns = model.language.nouns
    size, patch = model.tower.native_size, model.tower.patch_size
    clip: LoadedClip[VisionTower] = LoadedClip(
        name=SMALL_CLIP,
        tower=model.tower,
        text=model,
        logit_scale=model.logit_scale,
        fingerprint=hashlib.sha256(WEIGHTS.read_bytes()).hexdigest(),
        device=device,
        vocabulary=Vocabulary(tuple(nouns), tuple(nouns.values()), model.language.templates, class_colors(len(nouns))),
        licence=LICENCE,
    )
    return clip, ClipTeacherSettings(
        read_out=SMALL_CLIP_READ_OUT,
        resize=ResizeSettings(short_side=size * 5 // 2),
        windows=WindowSettings(crop=size, stride=size // 2, cell=patch // 2, batch=16),
        templates=model.language.templates,
    )
