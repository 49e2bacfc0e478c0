"""Procedural textures in plain torch: albedo as a function of the position on a primitive.

Everything is built from one integer hash and one value noise (lattice of hashed values, smooth trilinear interpolation), so
that any backend reproduces the same surface from the same seed.
"""

import torch
from jaxtyping import Float32, Int32, Int64
from torch import Tensor

from scenewise.kernels.ray_casting.tables import FACE_ROUND, MaterialTable, Texture

_MASK = 0xFFFFFFFF
COARSE_GRAIN, FINE_GRAIN = 0.05, 0.021  # metres: two to ten pixels of a 320-pixel picture taken from 1–3 m


def hash01(
    x: Int64[Tensor, "*r"], y: Int64[Tensor, "*r"], z: Int64[Tensor, "*r"], seed: Int64[Tensor, "*r"]
) -> Float32[Tensor, "*r"]:
    """Pseudo-random value in [0, 1) of three lattice coordinates and a seed, in 32-bit modular arithmetic."""
    n = (x & _MASK) * 0x8DA6B343 + (y & _MASK) * 0xD8163841 + (z & _MASK) * 0xCB1AB31F + (seed & _MASK) * 0x9E3779B1
    n = n & _MASK
    n = ((n ^ (n >> 15)) * 0x2C1B3C6D) & _MASK
    n = ((n ^ (n >> 12)) * 0x297A2D39) & _MASK
    n = n ^ (n >> 15)
    return (n & 0xFFFFFF).float() * (1.0 / 0x1000000)


def value_noise(points: Float32[Tensor, "r 3"], seed: Int64[Tensor, "r"]) -> Float32[Tensor, "r"]:
    """Smooth noise in [0, 1) with one random value per unit cell corner."""
    base = points.floor()
    fraction = points - base
    weight = fraction * fraction * (3.0 - 2.0 * fraction)
    x, y, z = base.long().unbind(-1)
    wx, wy, wz = weight.unbind(-1)
    faces = []
    for dz in (0, 1):
        edges = []
        for dy in (0, 1):
            low, high = hash01(x, y + dy, z + dz, seed), hash01(x + 1, y + dy, z + dz, seed)
            edges.append(low + wx * (high - low))
        faces.append(edges[0] + wy * (edges[1] - edges[0]))
    return faces[0] + wz * (faces[1] - faces[0])


def surface_coordinates(
    local: Float32[Tensor, "r 3"], faces: Int32[Tensor, "r"], half_sizes: Float32[Tensor, "r 3"]
) -> tuple[Float32[Tensor, "r"], Float32[Tensor, "r"], Float32[Tensor, "r"], Float32[Tensor, "r"]]:
    """Metres along the surface: u (horizontal where there is one) and v (up where there is one), and the half extents of both.

    On curved sides u is the angle times the larger radius, and its extent is given as 0: such parts are long in v.
    """
    x, y, z = local.unbind(-1)
    hx, hy, hz = half_sizes.unbind(-1)
    is_x, is_z, is_round = (faces // 2) == 0, (faces // 2) == 2, faces == FACE_ROUND
    around = torch.atan2(y / hy, x / hx) * torch.maximum(hx, hy)
    u = torch.where(is_round, around, torch.where(is_x, y, x))
    v = torch.where(is_z, y, z)
    extent_u = torch.where(is_round, torch.zeros_like(hx), torch.where(is_x, hy, hx))
    extent_v = torch.where(is_z, hy, hz)
    return u, v, extent_u, extent_v


def surface_colors(
    materials: MaterialTable,
    material_ids: Int64[Tensor, "r"],
    shapes: Int32[Tensor, "r"],
    half_sizes: Float32[Tensor, "r 3"],
    local: Float32[Tensor, "r 3"],
    faces: Int32[Tensor, "r"],
) -> Float32[Tensor, "r 3"]:
    """Linear albedo at positions on primitives: the material's texture times its grain."""
    textures, seed = materials.textures[material_ids], materials.seeds[material_ids].long()
    size, contrast = materials.feature_sizes[material_ids], materials.contrasts[material_ids]
    u, v, extent_u, extent_v = surface_coordinates(local, faces, half_sizes)
    first, second = materials.colors[material_ids].unbind(1)
    mix = torch.zeros_like(u)
    colors = torch.zeros_like(local)
    paints_itself = torch.zeros_like(u, dtype=torch.bool)
    for texture, pattern in _MIXING.items():
        rows = (textures == int(texture)).nonzero()[:, 0]
        if len(rows):
            surface = _Surface(
                local[rows], u[rows], v[rows], extent_u[rows], extent_v[rows], half_sizes[rows], size[rows], seed[rows]
            )
            mix[rows] = pattern(surface)
    for texture, paint in _PAINTING.items():
        rows = (textures == int(texture)).nonzero()[:, 0]
        if len(rows):
            surface = _Surface(
                local[rows], u[rows], v[rows], extent_u[rows], extent_v[rows], half_sizes[rows], size[rows], seed[rows]
            )
            colors[rows] = paint(surface, first[rows], second[rows])
            paints_itself[rows] = True
    mixed = first + (mix * contrast)[:, None] * (second - first)
    colors = torch.where(paints_itself[:, None], colors, mixed)
    noise = 0.6 * value_noise(local / COARSE_GRAIN, seed + 101) + 0.4 * value_noise(local / FINE_GRAIN, seed + 102)
    return colors * (1.0 + materials.grains[material_ids] * (2.0 * noise - 1.0))[:, None]


class _Surface:
    """Positions that carry one texture, and how it is dimensioned there."""

    def __init__(
        self, local: Tensor, u: Tensor, v: Tensor, extent_u: Tensor, extent_v: Tensor, half: Tensor, size: Tensor, seed: Tensor
    ) -> None:
        self.local, self.u, self.v, self.half, self.size, self.seed = local, u, v, half, size, seed
        self.extent_u, self.extent_v = extent_u, extent_v
        self.height_fraction = 0.5 * (local[:, 2] / half[:, 2] + 1.0)

    def noise(self, x: Tensor, y: Tensor, offset: int = 0) -> Float32[Tensor, "r"]:
        """Two-dimensional value noise."""
        return value_noise(torch.stack([x, y, torch.zeros_like(x)], dim=-1), self.seed + offset)

    def cell(self, x: Tensor, y: Tensor, offset: int = 0) -> Float32[Tensor, "r"]:
        """One random value per integer pair."""
        return hash01(x.long(), y.long(), torch.full_like(self.seed, offset), self.seed)


def _odd(x: Tensor) -> Tensor:
    return torch.remainder(x.floor(), 2.0)


def _stripes(s: _Surface) -> Tensor:
    return _odd(s.u / s.size)


def _wood_streaks(s: _Surface, along: Tensor, across: Tensor) -> Tensor:
    """Growth rings, seen as waves across the grain, and short dark pores along it."""
    ring = across / s.size + 2.0 * s.noise(along / (9.0 * s.size), across / (3.0 * s.size))
    wave = (2.0 * (ring - ring.floor()) - 1.0).abs()
    pores = s.noise(along / (4.0 * s.size), across / (0.22 * s.size), 1)
    return 0.55 * wave + 0.45 * pores


def _wood(s: _Surface) -> Tensor:
    """Grain along the longer side."""
    wide = s.extent_u >= s.extent_v
    return _wood_streaks(s, torch.where(wide, s.u, s.v), torch.where(wide, s.v, s.u))


def _checker(s: _Surface) -> Tensor:
    return _odd((s.u / s.size).floor() + (s.v / s.size).floor())


def _noise(s: _Surface) -> Tensor:
    p = s.local / s.size[:, None]
    return 0.5 * value_noise(p, s.seed) + 0.3 * value_noise(2.3 * p, s.seed + 1) + 0.2 * value_noise(5.1 * p, s.seed + 2)


def _tiles(s: _Surface) -> Tensor:
    """Square tiles of varying tone with joints in the second colour."""
    column, row = (s.u / s.size).floor(), (s.v / s.size).floor()
    x, y = s.u / s.size - column, s.v / s.size - row
    in_joint = torch.minimum(x, y) < 0.05
    return torch.where(in_joint, 1.0, 0.4 * s.cell(column, row, 3))


def _planks(s: _Surface) -> Tensor:
    """Boards along the longer side, eight times as long as wide, shifted row by row."""
    wide = s.extent_u >= s.extent_v
    along, across = torch.where(wide, s.u, s.v), torch.where(wide, s.v, s.u)
    row = (across / s.size).floor()
    place = along / (8.0 * s.size) + s.cell(row, row, 4)
    board = place.floor()
    in_joint = (across / s.size - row < 0.06) | (place - board < 0.008)
    tone = 0.45 * s.cell(board, row, 5)
    streak = s.noise(along / s.size + 17.0 * board, across / (0.12 * s.size))
    return torch.where(in_joint, 1.0, tone + 0.4 * streak)


def _leaves(s: _Surface) -> Tensor:
    p = s.local / s.size[:, None]
    x, y, z = (1.9 * p).floor().long().unbind(-1)
    return 0.5 * value_noise(p, s.seed) + 0.5 * hash01(x, y, z, s.seed)


def _ornament(s: _Surface) -> Tensor:
    """A lattice of diamonds, each in a ring."""
    x, y = s.u / s.size, s.v / s.size
    d = (x - x.floor() - 0.5).abs() + (y - y.floor() - 0.5).abs()
    return ((d < 0.2) | ((d > 0.34) & (d < 0.44))).float()


def _books(s: _Surface, first: Tensor, second: Tensor) -> Tensor:
    """A row of spines of random colours with a dark gap, a title band and a label each."""
    x = s.local[:, 0] / s.size
    book = x.floor()
    zero = torch.zeros_like(book)
    color = torch.stack([0.03 + 0.6 * s.cell(book, zero, channel).square() for channel in (1, 2, 3)], dim=-1)
    color = torch.where((s.cell(book, zero, 4) < 0.25)[:, None], first, color)
    band = 0.55 + 0.3 * s.cell(book, zero, 5)
    in_band = (s.height_fraction - band).abs() < 0.07
    color = torch.where(in_band[:, None], 0.25 * color + 0.75 * second, color)
    return torch.where((x - book < 0.14)[:, None], 0.25 * color, color)


def _window(s: _Surface, first: Tensor, second: Tensor) -> Tensor:
    """Sky of the first colour with clouds above hills of the second."""
    clouds = 0.6 * s.noise(s.u / s.size, 1.7 * s.v / s.size) + 0.4 * s.noise(3.1 * s.u / s.size, 5.0 * s.v / s.size, 1)
    sky = first + (1.6 * (clouds - 0.4).clamp(min=0.0)).clamp(max=1.0)[:, None] * (1.0 - first)
    hill = 0.28 + 0.2 * s.noise(1.3 * s.u / s.size, torch.zeros_like(s.u), 2)
    trees = s.noise(s.u / 0.045, s.v / 0.045, 3)
    return torch.where((s.height_fraction < hill)[:, None], second * (0.45 + 0.8 * trees)[:, None], sky)


def _screen(s: _Surface, first: Tensor, second: Tensor) -> Tensor:
    """Lines of pretended text in the second colour on the first, under a title bar, beside a column of blocks."""
    line, place = (s.v / s.size).floor(), s.u / (0.55 * s.size)
    in_line = s.v / s.size - line
    length = (2.0 * s.cell(line, torch.zeros_like(line), 6) - 0.9) * s.extent_u
    is_text = (s.cell(place.floor(), line, 7) > 0.35) & (in_line > 0.25) & (in_line < 0.75) & (s.u < length)
    color = torch.where(is_text[:, None], second, first)
    block = torch.stack([s.cell((s.v / (2.0 * s.size)).floor(), torch.zeros_like(line), c) for c in (8, 9, 10)], dim=-1)
    color = torch.where((s.u > 0.62 * s.extent_u)[:, None], 0.1 + 0.6 * block, color)
    return torch.where((s.height_fraction > 0.88)[:, None], 0.5 * (first + second), color)


def _picture(s: _Surface, first: Tensor, second: Tensor) -> Tensor:
    """An abstract painting: blocks of colour, discs on some, brush strokes over all."""
    column, row = (s.u / s.size).floor(), (s.v / s.size).floor()
    x, y = s.u / s.size - column - 0.5, s.v / s.size - row - 0.5
    chance = s.cell(column, row, 1)
    free = torch.stack([0.02 + 0.75 * s.cell(column, row, c).square() for c in (2, 3, 4)], dim=-1)
    color = torch.where((chance < 0.35)[:, None], first, torch.where((chance < 0.7)[:, None], second, free))
    in_disc = (x * x + y * y < 0.12) & (s.cell(column, row, 5) > 0.5)
    color = torch.where(in_disc[:, None], 0.85 - 0.8 * color, color)
    strokes = s.noise(s.u / (0.5 * s.size), s.v / (0.08 * s.size), 6)
    return color * (0.7 + 0.6 * strokes)[:, None]


_MIXING = {
    Texture.STRIPES: _stripes,
    Texture.WOOD: _wood,
    Texture.CHECKER: _checker,
    Texture.NOISE: _noise,
    Texture.TILES: _tiles,
    Texture.PLANKS: _planks,
    Texture.LEAVES: _leaves,
    Texture.ORNAMENT: _ornament,
}
_PAINTING = {Texture.BOOKS: _books, Texture.WINDOW: _window, Texture.SCREEN: _screen, Texture.PICTURE: _picture}
