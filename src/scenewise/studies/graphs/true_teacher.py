"""A teacher that knows what a procedural room shows: what then still goes wrong is geometry."""

from pathlib import Path

import numpy as np

from scenewise.io.captures import open_capture
from scenewise.io.teacher_files import TeacherAnswer, TeacherFilesInfo, write_answer, write_teacher_info
from scenewise.scenes.cameras import Cameras
from scenewise.worlds.captures import truth
from scenewise.worlds.classes import CLASS_NAMES
from scenewise.worlds.rooms import Room


def write_true_teacher(folder: Path, capture: Path, room: Room, cameras: Cameras) -> None:
    """A teacher that knows the class of every pixel.

    Args:
        folder: of its answers; made.
        capture: whose photographs they are of.
        room: that is in them.
        cameras: in the order of the photographs.
    """
    info = TeacherFilesInfo("labels", len(CLASS_NAMES), classes=CLASS_NAMES)
    for index, frame in enumerate(open_capture(capture).frames):
        write_answer(folder, frame.name, info, TeacherAnswer(labels=truth(room, cameras[index]).class_ids.astype(np.int32)))
    write_teacher_info(folder, info)
