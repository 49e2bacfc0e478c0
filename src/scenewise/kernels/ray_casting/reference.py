"""Ray casting in plain torch: every ray against every primitive.  The readable twin of the compiled backend."""

import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from scenewise.kernels.ray_casting.tables import (
    FACE_ROUND,
    ImageTensorU8,
    Lighting,
    PrimitiveScene,
    PrimitiveTable,
    RayHits,
    Shape,
    SurfaceMaps,
    sample_offsets,
)
from scenewise.kernels.ray_casting.textures import surface_colors
from scenewise.scenes.cameras import Cameras

NEAREST_HIT = 1e-4  # hits closer than this (in ray parameters) are the surface the ray left
SHADOW_OFFSET = 2e-3  # metres along the normal; keeps a lit face from shadowing itself in float32
_PAIRS_PER_CHUNK = 1 << 21  # rays × primitives held at once: bounds memory to a few hundred MB


def cast_rays(primitives: PrimitiveTable, origins: Float32[Tensor, "r 3"], directions: Float32[Tensor, "r 3"]) -> RayHits:
    """Nearest hit of each ray origin + t · direction with t > 1e-4; directions need not have unit length."""
    count = max(1, _PAIRS_PER_CHUNK // max(1, len(primitives)))
    pairs = zip(origins.split(count), directions.split(count))
    parts = [_cast_chunk(primitives, o, d) for o, d in pairs if len(o)]
    if not parts:
        parts = [_cast_chunk(primitives, origins, directions)]
    return RayHits(
        *(
            torch.cat([getattr(part, name) for part in parts])
            for name in ("distances", "primitive_ids", "normals_in_world", "local_positions", "faces")
        )
    )


def _cast_chunk(primitives: PrimitiveTable, origins: Tensor, directions: Tensor) -> RayHits:
    rays = len(origins)
    if len(primitives) == 0 or rays == 0:
        return RayHits(
            distances=origins.new_full((rays,), torch.inf),
            primitive_ids=torch.full((rays,), -1, dtype=torch.int32),
            normals_in_world=torch.zeros_like(origins),
            local_positions=torch.zeros_like(origins),
            faces=torch.full((rays,), -1, dtype=torch.int32),
        )
    distances = entry_distances(primitives, origins, directions)
    nearest, ids = distances.min(dim=1)
    is_hit = torch.isfinite(nearest)
    local_origins = _into_local(primitives, ids, origins - primitives.centers_in_world[ids])
    local_directions = _into_local(primitives, ids, directions)
    local = local_origins + torch.where(is_hit, nearest, 0.0)[:, None] * local_directions
    local_normals, faces = _local_normals(primitives, ids, local, local_directions)
    normals = _out_of_local(primitives, ids, local_normals)
    return RayHits(
        distances=nearest,
        primitive_ids=torch.where(is_hit, ids, -1).to(torch.int32),
        normals_in_world=torch.where(is_hit[:, None], normals, 0.0),
        local_positions=torch.where(is_hit[:, None], local, 0.0),
        faces=torch.where(is_hit, faces, -1).to(torch.int32),
    )


def _into_local(primitives: PrimitiveTable, ids: Int64[Tensor, "r"], vectors: Float[Tensor, "r 3"]) -> Float[Tensor, "r 3"]:
    c, s = primitives.yaw_cos_sin[ids].unbind(-1)
    x, y, z = vectors.unbind(-1)
    return torch.stack([c * x + s * y, c * y - s * x, z], dim=-1)


def _out_of_local(primitives: PrimitiveTable, ids: Int64[Tensor, "r"], vectors: Float[Tensor, "r 3"]) -> Float[Tensor, "r 3"]:
    c, s = primitives.yaw_cos_sin[ids].unbind(-1)
    x, y, z = vectors.unbind(-1)
    return torch.stack([c * x - s * y, s * x + c * y, z], dim=-1)


def entry_distances(
    primitives: PrimitiveTable, origins: Float32[Tensor, "r 3"], directions: Float32[Tensor, "r 3"]
) -> Float32[Tensor, "r n"]:
    """Ray parameter at which each ray enters each primitive from outside; +inf where it does not."""
    c, s = primitives.yaw_cos_sin.unbind(-1)
    offset = origins[:, None, :] - primitives.centers_in_world
    o = torch.stack([c * offset[..., 0] + s * offset[..., 1], c * offset[..., 1] - s * offset[..., 0], offset[..., 2]], dim=-1)
    dx, dy, dz = (directions[:, None, axis] for axis in range(3))
    d = torch.stack([c * dx + s * dy, c * dy - s * dx, dz.expand(-1, len(primitives))], dim=-1)
    distances = origins.new_full((len(origins), len(primitives)), torch.inf)
    for shape, enter in ((Shape.BOX, _enter_box), (Shape.FRUSTUM, _enter_frustum), (Shape.ELLIPSOID, _enter_ellipsoid)):
        columns = (primitives.shapes == int(shape)).nonzero()[:, 0]
        if len(columns):
            distances[:, columns] = enter(
                o[:, columns], d[:, columns], primitives.half_sizes[columns], primitives.end_scales[columns]
            )
    return distances


def _nonzero(values: Tensor) -> Tensor:
    """Values pushed away from 0, so that dividing by them gives huge and not undefined numbers."""
    return torch.where(values.abs() > 1e-9, values, torch.where(values < 0, -1e-9, 1e-9).to(values.dtype))


def _enter_box(o: Tensor, d: Tensor, half_sizes: Tensor, end_scales: Tensor) -> Tensor:
    """Slab test: the last of the three entries, if it comes before the first of the three exits."""
    inverse = 1.0 / _nonzero(d)
    center = -o * inverse
    reach = half_sizes * inverse.abs()
    enter, leave = (center - reach).amax(-1), (center + reach).amin(-1)
    return torch.where((enter <= leave) & (enter > NEAREST_HIT), enter, torch.inf)


def _enter_frustum(o: Tensor, d: Tensor, half_sizes: Tensor, end_scales: Tensor) -> Tensor:
    """In units of the horizontal half extents the side is |p + t·e|² = f(z)², f(z) = A + B·z; caps where z = ±half height.

    Of the two roots the one with falling left side minus right side is the entry: t = qc / (√D − qb), stable for qa → 0.
    """
    half_height = half_sizes[:, 2]
    slope = (end_scales[:, 1] - end_scales[:, 0]) / (2 * half_height)
    middle = end_scales.mean(-1)
    p, e = o[..., :2] / half_sizes[:, :2], d[..., :2] / half_sizes[:, :2]
    radius, growth = middle + slope * o[..., 2], slope * d[..., 2]
    qa = (e * e).sum(-1) - growth * growth
    qb = (p * e).sum(-1) - radius * growth
    qc = (p * p).sum(-1) - radius * radius
    discriminant = qb * qb - qa * qc
    side = qc / _nonzero(discriminant.clamp(min=0).sqrt() - qb)
    is_side = (
        (discriminant > 0)
        & (side > NEAREST_HIT)
        & ((o[..., 2] + side * d[..., 2]).abs() <= half_height)
        & (radius + side * growth > 0)
    )
    cap_z = torch.where(d[..., 2] > 0, -half_height, half_height)
    cap = (cap_z - o[..., 2]) / _nonzero(d[..., 2])
    cap_radius = middle + slope * cap_z
    at_cap = p + cap[..., None] * e
    is_cap = (cap > NEAREST_HIT) & ((at_cap * at_cap).sum(-1) <= cap_radius * cap_radius)
    return torch.minimum(torch.where(is_side, side, torch.inf), torch.where(is_cap, cap, torch.inf))


def _enter_ellipsoid(o: Tensor, d: Tensor, half_sizes: Tensor, end_scales: Tensor) -> Tensor:
    """The smaller root of |p + t·e|² = 1 in units of the half extents."""
    p, e = o / half_sizes, d / half_sizes
    qa, qb, qc = (e * e).sum(-1), (p * e).sum(-1), (p * p).sum(-1) - 1.0
    discriminant = qb * qb - qa * qc
    enter = qc / _nonzero(discriminant.clamp(min=0).sqrt() - qb)
    return torch.where((discriminant > 0) & (qb < 0) & (enter > NEAREST_HIT), enter, torch.inf)


def _local_normals(
    primitives: PrimitiveTable, ids: Int64[Tensor, "r"], local: Float[Tensor, "r 3"], directions: Float[Tensor, "r 3"]
) -> tuple[Float[Tensor, "r 3"], Int64[Tensor, "r"]]:
    """Outward unit normals in the primitive's frame, and face codes."""
    half_sizes, shapes = primitives.half_sizes[ids], primitives.shapes[ids]
    rays = torch.arange(len(ids))
    # Box: the face whose plane the hit lies on, among those the ray can enter.
    closeness = (local.abs() - half_sizes).masked_fill(directions == 0, -torch.inf)
    axis = closeness.argmax(-1)
    box_normals = torch.zeros_like(local)
    box_normals[rays, axis] = torch.where(directions[rays, axis] > 0, -1.0, 1.0).to(local.dtype)
    faces = 2 * axis + (box_normals[rays, axis] > 0).long()
    # Frustum: a cap where the hit is at the end that faces the ray and within its rim, else the side.
    is_frustum = shapes == int(Shape.FRUSTUM)
    bottom, top = primitives.end_scales[ids].unbind(-1)
    slope, middle = (top - bottom) / (2 * half_sizes[:, 2]), (top + bottom) / 2
    radius = middle + slope * local[:, 2]
    scaled = local[:, :2] / half_sizes[:, :2]
    side_normals = torch.cat([scaled / half_sizes[:, :2], -(radius * slope)[:, None]], dim=-1)
    cap_sign = torch.where(directions[:, 2] > 0, -1.0, 1.0).to(local.dtype)
    below_cap = (local[:, 2] - cap_sign * half_sizes[:, 2]).abs() / half_sizes[:, 2]
    inside_rim = radius - scaled.norm(dim=-1)
    is_cap = is_frustum & (below_cap < 1e-3) & (inside_rim > below_cap)
    cap_normals = torch.zeros_like(local)
    cap_normals[:, 2] = cap_sign
    # Ellipsoid: gradient of the implicit function.
    round_normals = torch.where(is_frustum[:, None], side_normals, local / half_sizes.square())
    round_normals = round_normals / round_normals.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    is_box = shapes == int(Shape.BOX)
    normals = torch.where(is_box[:, None], box_normals, torch.where(is_cap[:, None], cap_normals, round_normals))
    cap_faces = 4 + (cap_sign > 0).long()
    return normals, torch.where(is_box, faces, torch.where(is_cap, cap_faces, FACE_ROUND))


def is_blocked(
    primitives: PrimitiveTable,
    origins: Float32[Tensor, "r 3"],
    directions: Float32[Tensor, "r 3"],
    limits: Float32[Tensor, "r"],
) -> Bool[Tensor, "r"]:
    """Whether anything lies between the origin and the ray parameter ``limits``."""
    count = max(1, _PAIRS_PER_CHUNK // max(1, len(primitives)))
    blocked = torch.zeros(len(origins), dtype=torch.bool)
    if len(primitives):
        for start in range(0, len(origins), count):
            rows = slice(start, start + count)
            nearest = entry_distances(primitives, origins[rows], directions[rows]).amin(1)
            blocked[rows] = nearest < limits[rows]
    return blocked


def pixel_rays(camera: Cameras, offset: Float[Tensor, "2"]) -> tuple[Float32[Tensor, "r 3"], Float32[Tensor, "r 3"]]:
    """Origins and directions, one per pixel in row order, through ``offset`` in [0, 1]² of each pixel.

    Directions have unit length along the camera's +Z, so ray parameters are depths.
    """
    world_from_camera = camera.world_from_camera
    v, u = torch.meshgrid(
        torch.arange(camera.height, dtype=torch.float64) + offset[1],
        torch.arange(camera.width, dtype=torch.float64) + offset[0],
        indexing="ij",
    )
    in_pixels = torch.stack([u, v, torch.ones_like(u)], dim=-1).reshape(-1, 3)
    in_camera = in_pixels @ torch.linalg.inv(camera.K).T
    directions = (in_camera @ world_from_camera[:3, :3].T).float()
    origin = world_from_camera[:3, 3].float()
    return origin.expand_as(directions).contiguous(), directions


def surface_maps(primitives: PrimitiveTable, camera: Cameras) -> SurfaceMaps:
    """Depth and primitive at every pixel centre."""
    hits = cast_rays(primitives, *pixel_rays(camera, torch.tensor([0.5, 0.5])))
    shape = (camera.height, camera.width)
    depth = torch.where(hits.primitive_ids >= 0, hits.distances, 0.0)
    return SurfaceMaps(depth=depth.reshape(shape), primitive_ids=hits.primitive_ids.reshape(shape))


def photograph(scene: PrimitiveScene, camera: Cameras, samples_per_axis: int) -> ImageTensorU8:
    """Lit, textured picture: mean of the linear colours of samples_per_axis² rays per pixel, encoded with gamma 2."""
    offsets = sample_offsets(samples_per_axis)
    total = torch.zeros(camera.height * camera.width, 3)
    for offset in offsets:
        origins, directions = pixel_rays(camera, offset)
        total += _radiance(scene, origins, directions, lamp_position(scene.lighting, offset))
    mean = (total / len(offsets)).clamp(0.0, 1.0)
    return (mean.sqrt() * 255.0 + 0.5).to(torch.uint8).reshape(camera.height, camera.width, 3)


def lamp_position(lighting: Lighting, offset: Float[Tensor, "2"]) -> Float32[Tensor, "3"]:
    """Where a sub-pixel sample sees the lamp: moved with the sample, so that shadow edges blur over the lamp's size."""
    x, y, z = lighting.lamp_in_world
    shift = (2.0 * offset.double() - 1.0) * lighting.lamp_radius
    return torch.tensor([x + float(shift[0]), y + float(shift[1]), z], dtype=torch.float32)


def _radiance(scene: PrimitiveScene, origins: Tensor, directions: Tensor, lamp: Tensor) -> Float32[Tensor, "r 3"]:
    """Linear colour along each ray; black where nothing is hit."""
    hits = cast_rays(scene.primitives, origins, directions)
    rows = (hits.primitive_ids >= 0).nonzero()[:, 0]
    ids = hits.primitive_ids[rows].long()
    normals, light = hits.normals_in_world[rows], scene.lighting
    points = origins[rows] + hits.distances[rows, None] * directions[rows]
    to_lamp = lamp - points
    lamp_distance = to_lamp.norm(dim=-1).clamp(min=1e-6)
    cosine = ((to_lamp * normals).sum(-1) / lamp_distance).clamp(min=0.0)
    lit = cosine > 0
    starts = points + SHADOW_OFFSET * normals
    blocked = torch.zeros_like(lit)
    blocked[lit] = is_blocked(scene.primitives, starts[lit], lamp - starts[lit], torch.ones(int(lit.sum())))
    direct = light.lamp_strength * cosine / (1.0 + 0.1 * lamp_distance.square()) * (~blocked)
    sun = light.sun_strength * (normals @ torch.tensor(light.sun_direction, dtype=torch.float32)).clamp(min=0.0)
    irradiance = light.ambient * (0.9 + 0.1 * normals[:, 2]) + direct + sun
    material_ids = scene.primitives.material_ids[ids].long()
    emission = scene.materials.emissions[material_ids]
    albedo = surface_colors(
        scene.materials,
        material_ids,
        scene.primitives.shapes[ids],
        scene.primitives.half_sizes[ids],
        hits.local_positions[rows],
        hits.faces[rows],
    )
    brightness = irradiance * (1.0 - emission) + emission
    radiance = torch.zeros(len(origins), 3)
    radiance[rows] = albedo * brightness[:, None] * torch.tensor(light.tint, dtype=torch.float32)
    return radiance
