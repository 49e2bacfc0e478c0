"""Room surfaces as meshes: closed, outward, on the solids, labelled."""

import numpy as np
import pytest
import torch

from scenewise.errors import ConventionError
from scenewise.kernels import ray_casting
from scenewise.worlds.materials import Material
from scenewise.worlds.meshes import RoomMesh, _surface_nets, room_mesh, signed_distance
from scenewise.worlds.primitives import box, cylinder, ellipsoid
from scenewise.worlds.rooms import Room, furnished_room
from scenewise.worlds.seeds import DEFAULT_DEMO_SEED


@pytest.fixture(scope="module")
def room() -> Room:
    return furnished_room(DEFAULT_DEMO_SEED)


@pytest.fixture(scope="module")
def surface(room: Room) -> RoomMesh:
    return room_mesh(room, spacing=0.05, noise=0.0)


def face_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    corners = vertices[faces]
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def test_surface_nets_of_a_sphere():
    """Closed, outward, of the right area, volume and middle; an off-centre sphere so that axes cannot be swapped."""
    middle, radius = np.array([7.3, 9.1, 5.6]), 4.2
    nodes = np.stack(np.meshgrid(np.arange(16), np.arange(18), np.arange(12), indexing="ij"), -1)
    distance = (np.linalg.norm(nodes - middle, axis=-1) - radius).astype(np.float32)
    _, vertices, faces = _surface_nets(distance)
    np.testing.assert_allclose(np.linalg.norm(vertices - middle, axis=1), radius, atol=0.12)
    normals = face_normals(vertices, faces)
    outward = vertices[faces].mean(1) - middle
    assert ((normals * outward).sum(1) > 0).all()
    assert abs(np.linalg.norm(normals, axis=1).sum() / 2 / (4 * np.pi * radius**2) - 1) < 0.05
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    _, used = np.unique(edges, axis=0, return_counts=True)
    assert (used == 2).all()  # closed
    volume = (np.cross(vertices[faces[:, 0]], vertices[faces[:, 1]]) * vertices[faces[:, 2]]).sum() / 6
    assert abs(volume / (4 / 3 * np.pi * radius**3) - 1) < 0.08  # cells cut the curve short


def test_signed_distances_by_hand():
    look = Material(*_material())
    turned = box(1.0, 2.0, 0.5, 2.0, 0.4, 1.0, look, yaw=np.pi / 2)  # along y: x 0.8–1.2, y 1–3, z 0.5–1.5
    points = np.array([[1.5, 2.0, 1.0], [1.0, 3.5, 1.0], [1.0, 2.0, 1.0], [1.0, 2.0, 2.5], [1.5, 3.4, 1.0]], dtype=np.float32)
    np.testing.assert_allclose(signed_distance(turned, points), [0.3, 0.5, -0.2, 1.0, 0.5], atol=1e-6)
    tall = cylinder(0.0, 0.0, 0.0, 0.5, 2.0, look)
    np.testing.assert_allclose(
        signed_distance(tall, np.array([[0.8, 0, 1], [0, 0.3, 1], [0, 0, 2.4]], np.float32)), [0.3, -0.2, 0.4], atol=1e-6
    )
    egg = ellipsoid(0.0, 0.0, 0.0, (1.0, 2.0, 0.5), look)
    np.testing.assert_allclose(
        signed_distance(egg, np.array([[1.01, 0, 0], [0, 1.98, 0], [0, 0, 0.51]], np.float32)), [0.01, -0.02, 0.01], atol=2e-3
    )
    plate = box(0.0, 0.0, 0.0, 1.0, 1.0, 0.01, look)
    assert signed_distance(plate, np.array([[0, 0, 0.02]], np.float32))[0] > 0
    assert signed_distance(plate, np.array([[0, 0, 0.02]], np.float32), thinnest=0.03)[0] < 0


def _material() -> tuple[object, ...]:
    sample = furnished_room(DEFAULT_DEMO_SEED).parts[0].material
    return tuple(getattr(sample, name) for name in sample.__dataclass_fields__)


def test_vertices_lie_on_the_solids_they_name(room: Room, surface: RoomMesh):
    """Within a cell of the object, mostly within millimetres; open sides look into the room."""
    vertices = surface.mesh.vertices_in_world.astype(np.float32)
    gap = np.full(len(vertices), np.inf)
    for index, part in enumerate(room.parts):
        mine = surface.instance_ids == room.instance_of_part[index]
        gap[mine] = np.minimum(gap[mine], np.abs(signed_distance(part, vertices[mine], 0.03)))
    assert np.percentile(gap, 50) < 0.002 and np.percentile(gap, 99) < 0.045 and gap.max() < 0.09
    width, length, height = room.size
    assert vertices.min() > -0.03 and (vertices.max(0) < np.array([width, length, height]) + 0.03).all()
    assert set(np.unique(surface.class_ids)) == set(room.class_of_instance[np.unique(surface.instance_ids)])
    np.testing.assert_array_equal(surface.class_ids, room.class_of_instance[surface.instance_ids])


def test_labels_agree_with_the_ray_caster(room: Room, surface: RoomMesh):
    """A ray that arrives at a vertex from the free side meets the object that the vertex is labelled with."""
    vertices, faces = surface.mesh.vertices_in_world, surface.mesh.faces
    normals = np.zeros_like(vertices)
    np.add.at(normals, faces.ravel(), np.repeat(face_normals(vertices, faces), 3, axis=0))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    some = np.arange(0, len(vertices), 7)
    origins = torch.from_numpy((vertices[some] + 0.1 * normals[some]).astype(np.float32))
    hits = ray_casting.cast_rays(room.scene.primitives, origins, torch.from_numpy((-0.2 * normals[some]).astype(np.float32)))
    seen = room.class_ids(hits.primitive_ids)
    assert (seen == surface.class_ids[some]).mean() > 0.93


def test_faces_look_into_the_room_and_objects_are_connected(room: Room, surface: RoomMesh):
    vertices, faces = surface.mesh.vertices_in_world, surface.mesh.faces
    normals = face_normals(vertices, faces)
    floor = (surface.class_ids[faces] == 1).all(1) & (np.abs(vertices[faces][:, :, 2]) < 0.005).all(1)
    assert floor.sum() > 1000 and (normals[floor][:, 2] > 0).all()
    # One surface: furniture stands on the floor's own triangles (hung things may float before the wall).
    root = np.arange(len(vertices))
    for _ in range(200):
        lowest = np.minimum.reduce([root[faces[:, 0]], root[faces[:, 1]], root[faces[:, 2]]])
        before = root.copy()
        for corner in range(3):
            np.minimum.at(root, faces[:, corner], lowest)
        root = root[root]
        if (root == before).all():
            break
    _, sizes = np.unique(root, return_counts=True)
    assert sizes.max() / len(vertices) > 0.95


def test_noise_spacing_and_seed(room: Room):
    clean, noisy = room_mesh(room, spacing=0.06, noise=0.0), room_mesh(room, spacing=0.06, noise=0.001)
    again = room_mesh(room, spacing=0.06, noise=0.001)
    np.testing.assert_array_equal(noisy.mesh.vertices_in_world, again.mesh.vertices_in_world)
    np.testing.assert_array_equal(noisy.mesh.faces, clean.mesh.faces)
    moved = noisy.mesh.vertices_in_world - clean.mesh.vertices_in_world
    assert 0.0009 < moved.std() < 0.0011
    edges = np.linalg.norm(np.diff(clean.mesh.vertices_in_world[clean.mesh.faces][:, :2], axis=1)[:, 0], axis=1)
    assert 0.05 < np.median(edges) < 0.08
    with pytest.raises(ConventionError, match="spacing"):
        room_mesh(room, spacing=0.2)
