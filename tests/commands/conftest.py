"""A scene folder small enough to know by heart."""

from tests.support.ring_scene import ring_scene, scene_folder

__all__ = ["ring_scene", "scene_folder"]
