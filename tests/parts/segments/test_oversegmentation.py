"""Segments of meshes and points: folds, walls, gaps, and a furnished room with known instances."""

import numpy as np
import pytest
import torch

from scenewise.errors import ConventionError, ShapeError
from scenewise.parts.segments.oversegmentation import (
    PointSegments,
    RegionGrowing,
    Supervoxels,
    mesh_segments,
    normal_weights,
    point_segments,
    scale_unit,
    splat_segments,
    supervoxels,
)
from scenewise.parts.segments.point_normals import estimate_normals, nearest_neighbours, nearest_viewpoints, vertex_normals
from scenewise.parts.segments.supervoxels import _is_cut_off
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.meshes import TriangleMesh
from scenewise.worlds.captures import room_cameras, truth
from scenewise.worlds.rooms import furnished_room

STEP = 0.02  # metres between vertices


def fold(angle_deg, *, is_concave, noise=0.001, seed=0):
    """Two planes of 0.5 m × 0.8 m that meet at x = 0, seen from above, and each vertex's signed distance from the fold."""
    along, rows = np.arange(-25, 26) * STEP, np.arange(41) * STEP
    angle = np.deg2rad(angle_deg)
    x = np.where(along <= 0, along, along * np.cos(angle))
    z = np.where(along <= 0, 0.0, along * np.sin(angle) * (1 if is_concave else -1))
    x, y, z = np.repeat(x, 41), np.tile(rows, 51), np.repeat(z, 41)
    vertices = np.stack([x, y, z], axis=1) + np.random.default_rng(seed).normal(0.0, noise, (51 * 41, 3))
    index = np.arange(51 * 41).reshape(51, 41)
    quads = np.stack([index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]], axis=-1).reshape(-1, 4)
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return TriangleMesh(vertices, faces), np.repeat(along, 41)


def separation(ids, side):
    """1 when no set has vertices on both sides of the fold, ½ when one set holds everything."""
    left, right = (np.bincount(ids[mask], minlength=ids.max() + 1) for mask in (side < -0.03, side > 0.03))
    return np.maximum(left, right).sum() / (left + right).sum()


def same_sets(first, second):
    return len(np.unique(np.stack([first, second]), axis=1).T) == len(np.unique(first)) == len(np.unique(second))


# --- weights -----------------------------------------------------------------------------------------------------------------


def test_the_weight_of_an_edge_is_squared_where_the_surface_turns_outwards():
    # A ridge from a to b: the normal turns by 60° away from where we come from, so cos = ½.  Walking up the ridge (a → b) n_b
    # looks along the way, walking down it looks back.
    points = np.array([[0.0, 0, 0], [1.0, 0, 0]])
    up, tilted = [0.0, 0.0, 1.0], [np.sin(np.pi / 3), 0.0, 0.5]
    convex = normal_weights(points, np.array([up, tilted]), np.array([[0, 1]]))
    assert convex.tolist() == pytest.approx([0.25])
    concave = normal_weights(points, np.array([tilted, up]) * np.array([[-1, 1, 1], [1, 1, 1]]), np.array([[0, 1], [1, 0]]))
    # b's normal is straight up, so a → b does not count as convex; b → a asks a's normal, which leans to −x like the way: convex.
    assert concave.tolist() == pytest.approx([0.5, 0.25])


def test_vertex_normals_are_means_of_unit_normals_whatever_the_area():
    # A big horizontal triangle and a small vertical one share the edge 0–1.
    vertices = np.array([[0.0, 0, 0], [0, 1, 0], [-9.0, 0, 0], [0, 0, -0.1]])
    mesh = TriangleMesh(vertices, np.array([[0, 1, 2], [0, 3, 1], [2, 2, 0]]))
    normals = vertex_normals(mesh)
    assert normals[0].tolist() == pytest.approx([0.5, 0.0, 0.5])  # the face without area counts for nothing
    assert normals[2].tolist() == pytest.approx([0.0, 0.0, 1.0])
    assert normals[3].tolist() == pytest.approx([1.0, 0.0, 0.0])


# --- folds -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_concave", [True, False])
@pytest.mark.parametrize(("angle", "noise"), [(90, 0.0), (90, 0.001), (45, 0.0), (45, 0.001)])
def test_sharp_folds_split(angle, noise, is_concave):
    for seed in range(3):
        mesh, side = fold(angle, is_concave=is_concave, noise=noise, seed=seed)
        found = mesh_segments(mesh)
        assert separation(found.ids, side) == 1.0 and 2 <= found.count <= 3


@pytest.mark.parametrize("is_concave", [True, False])
def test_slight_folds_merge_under_noise(is_concave):
    for seed in range(3):
        mesh, side = fold(5, is_concave=is_concave, seed=seed)
        found = mesh_segments(mesh)
        assert separation(found.ids, side) < 0.55 and found.sizes.max() > 0.95 * len(side)


def test_between_them_a_concave_fold_splits_and_a_convex_one_merges():
    concave = [separation(mesh_segments(mesh).ids, side) for mesh, side in (fold(15, is_concave=True, seed=s) for s in range(4))]
    convex = [separation(mesh_segments(mesh).ids, side) for mesh, side in (fold(15, is_concave=False, seed=s) for s in range(4))]
    assert min(concave) > 0.99 and max(convex) < 0.55
    mesh, side = fold(20, is_concave=True)
    assert separation(mesh_segments(mesh).ids, side) > 0.99


def test_without_noise_small_folds_split_because_nothing_inside_is_uneven():
    mesh, side = fold(10, is_concave=True, noise=0.0)
    assert separation(mesh_segments(mesh).ids, side) == 1.0


def test_coarse_noise_shatters_planes():
    mesh, _ = fold(0, is_concave=True, noise=0.003)
    assert 15 <= mesh_segments(mesh).count <= 40


def test_extremes_of_k_and_size():
    mesh, _ = fold(45, is_concave=True)
    assert mesh_segments(mesh, k=0.0, min_size=0).count == len(mesh.vertices_in_world)
    assert mesh_segments(mesh, k=float("inf")).count == 1
    assert mesh_segments(mesh, k=1e-4, min_size=35).sizes.min() >= 35
    assert mesh_segments(mesh, k=1e-4, min_size=0).sizes.min() < 35


def test_vertices_without_faces_are_sets_of_their_own():
    mesh, _ = fold(0, is_concave=True)
    more = TriangleMesh(np.concatenate([[[9.0, 9, 9]], mesh.vertices_in_world]), mesh.faces + 1)
    found = mesh_segments(more)
    assert found.ids[0] == 0 and found.sizes[0] == 1
    assert mesh_segments(TriangleMesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64))).count == 0


def test_sets_of_points_do_not_depend_on_their_order():
    mesh, side = fold(90, is_concave=True)
    order = np.random.default_rng(0).permutation(len(side))
    for cut in (
        lambda points: point_segments(points, viewpoints=np.array([0.0, 0.4, 3.0])).ids,
        lambda points: supervoxels(points, settings=Supervoxels(growing=RegionGrowing())).ids,
    ):
        assert same_sets(cut(mesh.vertices_in_world)[order], cut(mesh.vertices_in_world[order]))


# --- points ------------------------------------------------------------------------------------------------------------------


def test_normals_look_at_the_sensor():
    mesh, side = fold(90, is_concave=True, noise=0.0)
    points = mesh.vertices_in_world
    neighbours = nearest_neighbours(points, 12)
    normals, variation = estimate_normals(points, neighbours, np.array([-0.3, 0.4, 0.3]))
    assert normals[side < -0.1] == pytest.approx(np.broadcast_to([0.0, 0, 1], (np.sum(side < -0.1), 3)), abs=1e-9)
    assert normals[side > 0.1] == pytest.approx(np.broadcast_to([-1.0, 0, 0], (np.sum(side > 0.1), 3)), abs=1e-9)
    assert variation[np.abs(side) > 0.1].max() < 1e-12 < 0.05 < variation[side == 0].min()


def test_neighbours_are_others_even_among_duplicates():
    points = np.array([[0.0, 0, 0]] * 4 + [[1.0, 0, 0], [1.0, 0.5, 0]])
    found = nearest_neighbours(points, 2)
    assert (found != np.arange(6)[:, None]).all() and found[4].tolist()[0] == 5
    assert nearest_neighbours(points[:1], 3).shape == (1, 0) and nearest_neighbours(points[:2], 3).tolist() == [[1], [0]]


@pytest.mark.parametrize("viewpoints", [np.array([-1.0, 0.4, 2.0]), None])
def test_a_fold_of_points_splits(viewpoints):
    mesh, side = fold(60, is_concave=True)
    assert separation(point_segments(mesh.vertices_in_world, viewpoints=viewpoints).ids, side) > 0.99


def test_given_normals_are_used_and_turned_to_the_sensor():
    mesh, side = fold(60, is_concave=True)
    flat = np.tile([0.0, 0.0, -1.0], (len(side), 1))
    assert point_segments(mesh.vertices_in_world, normals=flat).count == 1
    mixed = flat * np.where(np.arange(len(side)) % 2, 1.0, -1.0)[:, None]
    assert point_segments(mesh.vertices_in_world, normals=mixed, viewpoints=np.array([0.0, 0.4, 3.0])).count == 1


def test_colours_split_a_plane_only_when_asked():
    mesh, side = fold(0, is_concave=True)
    colors = np.where((side > 0)[:, None], [200, 30, 30], [30, 30, 200]).astype(np.uint8)
    points = mesh.vertices_in_world
    assert separation(point_segments(points, colors_u8=colors).ids, side) < 0.6
    assert separation(point_segments(points, colors_u8=colors, settings=PointSegments(color_weight=0.5)).ids, side) == 1.0


def test_long_edges_can_be_left_out():
    mesh, _ = fold(0, is_concave=True)
    flat = mesh.vertices_in_world
    both = np.concatenate([flat[:30], flat[:30] + np.array([0.0, 5.0, 0.0])])
    settings = PointSegments(neighbours=40, k=float("inf"))
    assert point_segments(both, settings=settings).count == 1
    assert point_segments(both, settings=PointSegments(neighbours=40, k=float("inf"), max_gap=1.0)).count == 2
    assert (
        point_segments(both * 0.1, settings=PointSegments(neighbours=40, k=float("inf"), max_gap=1.0), scale_unit=0.1).count == 2
    )


def test_few_points():
    for count in (0, 1, 2, 3):
        points = np.arange(3.0 * count).reshape(count, 3)
        assert len(point_segments(points).ids) == len(supervoxels(points).ids) == count


# --- supervoxels -------------------------------------------------------------------------------------------------------------


def planes(gap, seed=0):
    """Two horizontal squares of 1.5 m, one above the other."""
    grid = np.stack(np.meshgrid(np.arange(0, 1.5, 0.025), np.arange(0, 1.5, 0.025)), axis=-1).reshape(-1, 2)
    flat = np.concatenate([grid, np.zeros((len(grid), 1))], axis=1)
    points = np.concatenate([flat, flat + np.array([0.0, 0.0, gap])])
    return points + np.random.default_rng(seed).normal(0.0, 0.001, points.shape), np.repeat([0, 1], len(grid))


def test_supervoxels_do_not_jump_gaps_and_are_of_the_size_of_their_seeds():
    points, plane = planes(0.16)
    found = supervoxels(points)
    assert not any(len(np.unique(plane[found.ids == number])) > 1 for number in range(found.count))
    extents = np.array([np.ptp(points[found.ids == number], axis=0).max() for number in range(found.count)])
    assert 12 <= found.count <= 40 and extents.max() < 1.0 and np.median(extents) > 0.3


def test_supervoxels_are_connected():
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    mesh, _ = fold(70, is_concave=False, noise=0.002)
    found = supervoxels(mesh.vertices_in_world, settings=Supervoxels(voxel_size=0.04, seed_spacing=0.2))
    for number in range(found.count):
        piece = mesh.vertices_in_world[found.ids == number]
        links = cKDTree(piece).sparse_distance_matrix(cKDTree(piece), 2 * 0.04 * np.sqrt(3))
        assert connected_components(links)[0] == 1


def test_what_a_piece_lost_the_connection_with_goes_to_a_neighbour(room_cloud, monkeypatch):
    chain = np.array([[0, 1], [1, 2], [2, 3], [3, 4]])
    both_ways = np.concatenate([chain, chain[:, ::-1]])
    assert _is_cut_off(np.array([0, 1, 0, 0, -1]), both_ways).tolist() == [True, False, False, False, False]
    slivers = (supervoxels(room_cloud[0]).sizes < 5).sum()
    monkeypatch.setattr("scenewise.parts.segments.supervoxels._is_cut_off", lambda owners, pairs: np.zeros(len(owners), bool))
    assert slivers < (supervoxels(room_cloud[0]).sizes < 5).sum()


def test_supervoxels_stop_at_folds_and_region_growing_unites_what_is_flat():
    mesh, side = fold(90, is_concave=True)
    turned = mesh.vertices_in_world @ np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0].T  # no grid along the fold
    sizes = {"voxel_size": 0.03, "seed_spacing": 0.35}
    pieces, without_normals = (supervoxels(turned, settings=Supervoxels(**sizes, normal_importance=w)) for w in (1.0, 0.0))
    assert separation(pieces.ids, side) > 0.99 > 0.95 > separation(without_normals.ids, side)
    growing = RegionGrowing(angle_deg=10.0, max_variation=0.02)
    united = supervoxels(turned, settings=Supervoxels(**sizes, growing=growing))
    assert united.count <= pieces.count / 2 and separation(united.ids, side) > 0.9


def test_colours_move_the_borders_of_supervoxels():
    points, _ = planes(0.5)
    colors = np.where(points[:, :1] > 0.7, [250, 250, 250], [0, 0, 0]).astype(np.uint8)
    settings = Supervoxels(color_importance=2.0)

    def mixed(found):
        shares = np.array([(points[found.ids == number, 0] > 0.7).mean() for number in range(found.count)])
        return np.minimum(shares, 1 - shares) @ found.sizes / len(points)

    assert mixed(supervoxels(points, colors_u8=colors, settings=settings)) < 0.5 * mixed(supervoxels(points, settings=settings))


def test_a_scene_in_other_units_has_the_same_sets_when_told_its_unit():
    points, _ = planes(0.16)
    assert np.array_equal(supervoxels(points).ids, supervoxels(points * 4.0, scale_unit=4.0).ids)
    assert not np.array_equal(supervoxels(points).ids, supervoxels(points * 4.0).ids)
    assert scale_unit("metric", 7.0) == 1.0 and scale_unit("arbitrary", 5.0) == 2.0


# --- splats ------------------------------------------------------------------------------------------------------------------


def test_splats_below_the_opacity_have_no_set():
    mesh, side = fold(90, is_concave=True)
    count = len(side)
    haze = torch.arange(count) % 5 == 0
    gaussians = Gaussians(
        means=torch.from_numpy(mesh.vertices_in_world).float(),
        log_scales=torch.zeros(count, 3),
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1),
        logit_opacities=torch.where(haze, -5.0, 2.0),
        sh0=torch.zeros(count, 1, 3),
        shN=torch.zeros(count, 0, 3),
    )
    for settings in (None, Supervoxels(voxel_size=0.05, seed_spacing=0.25)):
        found = splat_segments(gaussians, camera_centers=np.array([[-0.2, 0.4, 0.3]]), settings=settings)
        assert ((found.ids == -1) == haze.numpy()).all()
        visible = found.ids >= 0
        assert separation(found.ids[visible], side[visible]) > 0.9


def test_the_nearest_camera_stands_in_for_the_one_that_saw_a_point():
    cameras = np.array([[0.0, 0, 0], [10.0, 0, 0]])
    assert nearest_viewpoints(np.array([[4.0, 0, 0], [6.0, 0, 0]]), cameras).tolist() == cameras.tolist()


# --- a room ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def room_cloud():
    """Points of a furnished room from eight depth maps with 1 mm of noise, their instances and the cameras that saw them."""
    room = furnished_room(3)
    cameras = room_cameras(room, 8, 96, 72)
    points, instances, viewpoints = [], [], []
    for index in range(8):
        camera = cameras[index]
        known = truth(room, camera)
        rows, columns = np.nonzero(known.depth > 0)
        pixels = np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))])
        in_camera = np.linalg.inv(camera.K.numpy()) @ pixels * known.depth[rows, columns]
        world_from_camera = camera.world_from_camera.numpy()
        points.append((world_from_camera[:3, :3] @ in_camera).T + world_from_camera[:3, 3])
        instances.append(known.instance_ids[rows, columns])
        viewpoints.append(np.tile(world_from_camera[:3, 3], (len(rows), 1)))
    cloud = np.concatenate(points)
    return cloud + np.random.default_rng(0).normal(0, 0.001, cloud.shape), np.concatenate(instances), np.concatenate(viewpoints)


def purity(ids, instances):
    """Share of points that belong to the most frequent instance of their set."""
    pairs, counts = np.unique(np.stack([ids, instances]), axis=1, return_counts=True)
    best = np.zeros(ids.max() + 1, dtype=np.int64)
    np.maximum.at(best, pairs[0], counts)
    return best.sum() / len(ids)


def test_sets_in_a_furnished_room_are_pure(room_cloud):
    points, instances, viewpoints = room_cloud
    segments = point_segments(points, viewpoints=viewpoints)
    pieces = supervoxels(points)
    print(f"purity: knn {purity(segments.ids, instances):.3f} in {segments.count}, vccs {purity(pieces.ids, instances):.3f}")
    assert purity(segments.ids, instances) > 0.90 and segments.count < 40 * len(np.unique(instances))
    assert purity(pieces.ids, instances) > 0.85 and pieces.count < 40 * len(np.unique(instances))
    shuffled = np.random.default_rng(0).permutation(segments.ids)
    assert purity(shuffled, instances) < 0.4  # the floor is not passed by the sizes of the sets alone
    assert np.array_equal(segments.ids, point_segments(points, viewpoints=viewpoints).ids)
    assert np.array_equal(pieces.ids, supervoxels(points).ids)


# --- errors ------------------------------------------------------------------------------------------------------------------


@pytest.mark.errors
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p: point_segments(np.where(p == p[0], np.nan, p)), ConventionError, "points: expected finite"),
        (lambda p: supervoxels(np.where(p == p[0], np.inf, p)), ConventionError, "points: expected finite"),
        (lambda p: supervoxels(np.concatenate([p, [[1e9, 0, 0]]])), ConventionError, "scale_unit"),
        (lambda p: point_segments(p, settings=PointSegments(color_weight=1.0)), ConventionError, "color_weight"),
        (lambda p: point_segments(p, normals=p[1:]), ShapeError, "normals"),
        (lambda p: supervoxels(p, colors_u8=np.zeros((2, 3), np.uint8)), ShapeError, "colors_u8"),
        (lambda p: Supervoxels(voxel_size=0.6), ConventionError, "voxel_size"),
        (lambda p: point_segments(p, settings=PointSegments(neighbours=0)), ConventionError, "neighbours"),
        (lambda p: scale_unit("arbitrary", 0.0), ConventionError, "median_depth"),
        (lambda p: nearest_viewpoints(p, np.zeros((0, 3))), ConventionError, "camera_centers"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call(np.random.default_rng(0).random((30, 3)))
