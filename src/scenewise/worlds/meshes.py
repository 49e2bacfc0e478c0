"""The surface of a room as a triangle mesh, as a depth scanner and fusion would give it.

The room's solids are united as a signed distance on a regular grid and the zero level is meshed, so that furniture and floor
share one connected surface with rounded edges and even vertices, as in scans fused from depth.  Contouring by "surface nets":
one vertex per cell that the surface passes, at the mean of its crossings with the cell's edges; one quad per grid edge it
crosses.  Source: Gibson 1998, "Constrained elastic surface nets", MICCAI.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int32, Int64, UInt8

from scenewise.errors import ConventionError
from scenewise.kernels import ray_casting
from scenewise.kernels.ray_casting import Shape
from scenewise.kernels.ray_casting.textures import surface_colors
from scenewise.scenes.meshes import TriangleMesh
from scenewise.worlds.primitives import Primitive
from scenewise.worlds.rooms import Room

_THINNEST = 0.6  # of the spacing: half a thickness below which a plate could slip between grid nodes
_FREE = 1.0  # distance, metres, of nodes far from everything
_MARGIN = 1.5  # cells beyond the room's box, within the walls' thickness
_PROBE = 0.06  # metres before the surface from which its colour is looked at
_BRIGHTNESS = 0.8  # of the even light on vertex colours


@dataclass(frozen=True)
class RoomMesh:
    """A room's surface with truth per vertex.

    Attributes:
        mesh: seen from inside the room; faces counter-clockwise from there, vertex colours.
        class_ids: index into ``CLASS_NAMES``.
        instance_ids: index into ``Room.objects``.
    """

    mesh: TriangleMesh
    class_ids: Int64[np.ndarray, "n"]
    instance_ids: Int64[np.ndarray, "n"]


def room_mesh(room: Room, *, spacing: float = 0.025, noise: float = 0.001) -> RoomMesh:
    """The surface of a room.

    Solids thinner than 1.2 spacings are thickened to that, as fusion does to what it can hardly resolve.

    Args:
        room: what to mesh.
        spacing: of the grid and about that of the vertices, metres.
        noise: standard deviation of the vertices' positions along each axis, metres; without any, regions of a graph
            segmentation behave unlike those of real scans.

    Raises:
        ConventionError: a spacing beyond what the walls' thickness allows, or a negative noise.
    """
    if not 0.005 <= spacing <= 0.06:
        raise ConventionError("spacing", expected="0.005 … 0.06 metres", got=spacing)
    if not noise >= 0:
        raise ConventionError("noise", expected="0 or more metres", got=noise)
    origin = np.full(3, -_MARGIN * spacing)
    # Rounded down: a node beyond the walls' far side would mesh the house from outside as well.
    shape = tuple(int((side + 2 * _MARGIN * spacing) / spacing) + 1 for side in room.size)
    distance = np.full(shape, _FREE, dtype=np.float32)
    owner = np.zeros(shape, dtype=np.int32)
    for index, part in enumerate(room.parts):
        _unite(distance, owner, origin, spacing, part, index)
    corners, vertices, faces = _surface_nets(distance)
    vertices = origin + vertices * spacing
    closest = np.abs(distance.reshape(-1)[corners]).argmin(axis=1)
    part_ids = owner.reshape(-1)[np.take_along_axis(corners, closest[:, None], axis=1)[:, 0]]
    normals = _vertex_normals(vertices, faces)
    colors = _colors(room, vertices, normals, part_ids)
    generator = np.random.Generator(np.random.PCG64([room.seed, 17]))
    vertices = vertices + generator.normal(0.0, noise, vertices.shape)
    instance_ids = room.instance_of_part[part_ids]
    return RoomMesh(TriangleMesh(vertices, faces, colors), room.class_of_instance[instance_ids], instance_ids)


def signed_distance(
    part: Primitive, points_in_world: Float32[np.ndarray, "n 3"], thinnest: float = 0.0
) -> Float32[np.ndarray, "n"]:
    """Distance to a solid's surface, negative inside; exact for boxes, to first order near the surface of round solids.

    Args:
        part: the solid in the world frame.
        points_in_world: metres.
        thinnest: half extents below this are taken as this, metres.
    """
    c, s = np.float32(np.cos(part.yaw)), np.float32(np.sin(part.yaw))
    offset = points_in_world - np.array(part.center, dtype=np.float32)
    local = np.stack([c * offset[:, 0] + s * offset[:, 1], c * offset[:, 1] - s * offset[:, 0], offset[:, 2]], axis=1)
    half = np.maximum(np.array(part.half_size, dtype=np.float32), np.float32(thinnest))
    if part.shape is Shape.ELLIPSOID:
        inner, outer = np.linalg.norm(local / half, axis=1), np.linalg.norm(local / half**2, axis=1)
        return np.where(outer > 0, inner * (inner - 1) / np.maximum(outer, 1e-12), -half.min()).astype(np.float32)
    if part.shape is Shape.FRUSTUM:
        bottom, top = part.end_scales
        slope, middle = (top - bottom) / (2 * half[2]), (top + bottom) / 2
        width = half[:2].min()
        radius = np.maximum(middle + slope * local[:, 2], thinnest / width)
        tilt = np.sqrt(1 + (slope * width) ** 2)
        beyond = np.stack(
            [(np.linalg.norm(local[:, :2] / half[:2], axis=1) - radius) * (width / tilt), np.abs(local[:, 2]) - half[2]], axis=1
        )
    else:
        beyond = np.abs(local) - half
    outside = np.linalg.norm(np.maximum(beyond, 0), axis=1)
    return (outside + np.minimum(beyond.max(axis=1), 0)).astype(np.float32)


def _unite(
    distance: Float32[np.ndarray, "x y z"],
    owner: Int32[np.ndarray, "x y z"],
    origin: Float64[np.ndarray, "3"],
    spacing: float,
    part: Primitive,
    index: int,
) -> None:
    """Puts the smaller of the distance so far and that to one solid into the nodes near it."""
    c, s = abs(np.cos(part.yaw)), abs(np.sin(part.yaw))
    x, y, z = np.maximum(part.half_size, _THINNEST * spacing)
    reach = np.array([c * x + s * y, s * x + c * y, z]) + 2 * spacing
    low = np.floor((np.array(part.center) - reach - origin) / spacing).astype(int).clip(0)
    high = (np.ceil((np.array(part.center) + reach - origin) / spacing).astype(int) + 1).clip(0, distance.shape)
    if (high <= low).any():
        return
    block = tuple(slice(int(a), int(b)) for a, b in zip(low, high))
    axes = [origin[k] + spacing * np.arange(low[k], high[k]) for k in range(3)]
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.float32)
    near = signed_distance(part, nodes, _THINNEST * spacing).reshape(distance[block].shape)
    closer = near < distance[block]
    distance[block][closer] = near[closer]
    owner[block][closer] = index


def _surface_nets(
    distance: Float32[np.ndarray, "x y z"],
) -> tuple[Int64[np.ndarray, "n 8"], Float64[np.ndarray, "n 3"], Int64[np.ndarray, "m 3"]]:
    """Corner nodes of the cells with a vertex, the vertices in grid units, and triangles facing positive distances."""
    shape = distance.shape
    strides = np.array([shape[1] * shape[2], shape[2], 1])
    inside = distance < 0
    mixed = np.zeros(tuple(side - 1 for side in shape), dtype=bool)
    first = inside[:-1, :-1, :-1]
    steps = np.array([[i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(8)])
    for step in steps[1:]:
        mixed |= inside[tuple(slice(d, d + n - 1) for d, n in zip(step, shape))] != first
    cells = np.argwhere(mixed)
    corners = (cells @ strides)[:, None] + steps @ strides
    values = distance.reshape(-1)[corners].astype(np.float64)

    total, count = np.zeros((len(cells), 3)), np.zeros(len(cells))
    for a in range(8):
        for axis in range(3):
            if steps[a, axis]:
                continue
            b = a | (4 >> axis)
            crosses = (values[:, a] < 0) != (values[:, b] < 0)
            difference = np.where(crosses, values[:, a] - values[:, b], 1.0)
            place = np.tile(steps[a].astype(float), (len(cells), 1))
            place[:, axis] += values[:, a] / difference
            total += np.where(crosses[:, None], place, 0.0)
            count += crosses
    vertices = cells + total / count[:, None]

    number = np.full(mixed.shape, -1, dtype=np.int64)
    number[mixed] = np.arange(len(cells))
    faces: list[Int64[np.ndarray, "_ 3"]] = []
    for axis in range(3):
        u, v = (axis + 1) % 3, (axis + 2) % 3
        along = [slice(None)] * 3
        along[axis] = slice(0, -1)
        ahead = [slice(None)] * 3
        ahead[axis] = slice(1, None)
        low, high = inside[tuple(along)], inside[tuple(ahead)]
        edges = np.argwhere(low != high)
        # Edges on the grid's rim have no four cells around them.
        edges = edges[(edges[:, u] > 0) & (edges[:, v] > 0) & (edges[:, u] < shape[u] - 1) & (edges[:, v] < shape[v] - 1)]
        outwards = low[tuple(edges.T)]  # solid below, free above: the quad's normal points along the axis
        step_u, step_v = np.eye(3, dtype=int)[u], np.eye(3, dtype=int)[v]
        a, b, c, d = (number[tuple((edges - i * step_u - j * step_v).T)] for i, j in ((1, 1), (0, 1), (0, 0), (1, 0)))
        faces += [np.stack([a, b, c], 1)[outwards], np.stack([a, c, d], 1)[outwards]]
        faces += [np.stack([a, c, b], 1)[~outwards], np.stack([a, d, c], 1)[~outwards]]
    return corners, vertices, np.concatenate(faces)


def _vertex_normals(vertices: Float64[np.ndarray, "n 3"], faces: Int64[np.ndarray, "m 3"]) -> Float64[np.ndarray, "n 3"]:
    corners = vertices[faces]
    of_face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.stack(
        [np.bincount(faces.ravel(), np.repeat(of_face[:, axis], 3), minlength=len(vertices)) for axis in range(3)], axis=1
    )
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def _colors(
    room: Room, vertices: Float64[np.ndarray, "n 3"], normals: Float64[np.ndarray, "n 3"], part_ids: Int32[np.ndarray, "n"]
) -> UInt8[np.ndarray, "n 3"]:
    """The texture a short ray from before the surface sees, where it sees the vertex's own solid; else its first colour."""
    primitives, materials = room.scene.primitives, room.scene.materials
    origins = torch.from_numpy((vertices + _PROBE * normals).astype(np.float32))
    directions = torch.from_numpy((-2 * _PROBE * normals).astype(np.float32))
    hits = ray_casting.cast_rays(primitives, origins, directions)
    own = torch.from_numpy(part_ids)
    seen = (hits.primitive_ids == own) & (hits.distances <= 1.0)
    linear = materials.colors[primitives.material_ids[own.long()].long(), 0].clone()
    ids = own[seen].long()
    linear[seen] = surface_colors(
        materials,
        primitives.material_ids[ids].long(),
        primitives.shapes[ids],
        primitives.half_sizes[ids],
        hits.local_positions[seen],
        hits.faces[seen],
    )
    encoded: np.ndarray = ((linear * _BRIGHTNESS).clamp(0, 1).sqrt() * 255 + 0.5).to(torch.uint8).numpy()
    return encoded
