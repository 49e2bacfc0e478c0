"""The splat kernel: every backend against the same scenarios, anchors computed by hand, loops one can verify by eye."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y
from tests.support.splat_scenarios import one_splat, random_splats, relative_error, run, to_dtype

from scenewise.errors import ResourceError, ShapeError
from scenewise.geometry.rotations import rotation_from_quat
from scenewise.geometry.spherical_harmonics import sh_basis
from scenewise.kernels.native import library
from scenewise.kernels.splats import constants, native, rasterize
from scenewise.kernels.splats.constants import ALPHA_MAX, ALPHA_MIN, DILATION, TRANSMITTANCE_MIN

HAS_NATIVE = library.load() is not None
needs_native = pytest.mark.skipif(not HAS_NATIVE, reason="the compiled library was not built")
BACKENDS = ["reference", pytest.param("native", marks=needs_native)]


def loop_render(splats):
    """Every pixel by itself, one Gaussian after the other, in float64: the definition."""
    s = to_dtype(splats, torch.float64)
    rotation, translation = s.camera_from_world[:3, :3].numpy(), s.camera_from_world[:3, 3].numpy()
    fx, fy, cx, cy = (float(s.K[i, j]) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    gaussians = []
    for i in range(len(s.means)):
        x, y, z = rotation @ s.means[i].numpy() + translation
        if z <= 0.01:
            continue
        tan_x, tan_y = 0.15 * s.width / fx, 0.15 * s.height / fy
        tx = min(max(x / z, -cx / fx - tan_x), (s.width - cx) / fx + tan_x)
        ty = min(max(y / z, -cy / fy - tan_y), (s.height - cy) / fy + tan_y)
        jacobian = np.array([[fx / z, 0, -fx * tx / z], [0, fy / z, -fy * ty / z]])
        axes = rotation_from_quat(s.quats[i]).numpy() @ np.diag(np.exp(s.scales[i].numpy()))
        covariance = jacobian @ rotation @ axes @ axes.T @ rotation.T @ jacobian.T + DILATION * np.eye(2)
        direction = s.means[i].numpy() + rotation.T @ translation
        basis = sh_basis(torch.tensor(direction / np.linalg.norm(direction)), s.sh_degree).numpy()
        coefficients = torch.cat([s.sh0[i], s.shN[i, : len(basis) - 1]]).numpy()
        color = np.maximum(0.5 + basis @ coefficients, 0)
        opacity = 1 / (1 + math.exp(-float(s.opacities[i])))
        gaussians.append((z, np.array([fx * x / z + cx, fy * y / z + cy]), np.linalg.inv(covariance), opacity, color))
    gaussians.sort(key=lambda g: g[0])
    color, alpha, depth = np.zeros((s.height, s.width, 3)), np.zeros((s.height, s.width)), np.zeros((s.height, s.width))
    for row in range(s.height):
        for column in range(s.width):
            transmittance = 1.0
            for z, mean, conic, opacity, rgb in gaussians:
                d = np.array([column + 0.5, row + 0.5]) - mean
                a = min(ALPHA_MAX, opacity * math.exp(-0.5 * d @ conic @ d))
                if a < ALPHA_MIN:
                    continue
                if transmittance * (1 - a) <= TRANSMITTANCE_MIN:
                    break
                color[row, column] += transmittance * a * rgb
                depth[row, column] += transmittance * a * z
                transmittance *= 1 - a
            color[row, column] += transmittance * s.background.numpy()
            alpha[row, column] = 1 - transmittance
    return color, depth, alpha


@needs_native
def test_the_library_was_compiled_with_the_same_constants():
    ours = {name: value for name, value in vars(constants).items() if name.isupper()}
    assert {"ALPHA_MAX", "ALPHA_MIN", "MEAN_MAX"} <= set(ours)
    # NaN, for a name the library does not know, equals nothing.
    assert {name: native.constant(name) for name in ours} == {name: float(np.float32(value)) for name, value in ours.items()}
    assert native.constant("LOG2_ALPHA_MIN") == float(np.float32(math.log2(ALPHA_MIN)))
    assert math.isnan(native.constant("ALPHA_MIDDLE"))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_matches_the_loop_over_pixels(backend, degree):
    splats = random_splats(40, 19, 23, degree=degree, seed=degree)
    color, depth, alpha = loop_render(splats)
    output = rasterize(splats, backend)
    # float32 with a 3e-6 exponential: 2e-5 on colours of order 3
    np.testing.assert_allclose(output.color.numpy(), color, atol=2e-5)
    np.testing.assert_allclose(output.depth.numpy(), depth, atol=5e-5)
    np.testing.assert_allclose(output.alpha.numpy(), alpha, atol=1e-5)


@needs_native
@pytest.mark.parametrize(
    ("n", "width", "height", "degree", "channels", "smallest"),
    [
        (150, 37, 29, 0, 0, -3.5),
        (150, 37, 29, 3, 5, -3.5),
        (400, 64, 48, 2, 16, -4.5),
        (60, 50, 70, 1, 3, -1.0),
        (2000, 16, 16, 0, 1, -5),
    ],
)
def test_native_gradients_match_float64_reference(n, width, height, degree, channels, smallest):
    splats = random_splats(n, width, height, degree=degree, channels=channels, smallest=smallest, seed=n)
    want_output, want = run(to_dtype(splats, torch.float64), "reference")
    got_output, got = run(splats, "native")
    for name in ("color", "depth", "alpha", "radii"):
        assert relative_error(getattr(got_output, name), getattr(want_output, name)) < 1e-5, name
    for name, value in want.items():
        assert relative_error(got[name], value) < 1e-4, name
    assert torch.equal(got_output.contribution.pixel_count, want_output.contribution.pixel_count)
    assert torch.equal(got_output.contribution.argmax_count, want_output.contribution.argmax_count)
    torch.testing.assert_close(
        got_output.contribution.weight_sum.double(), want_output.contribution.weight_sum, rtol=1e-4, atol=1e-3
    )


def test_reference_gradients_match_finite_differences():
    # Opacities below the clamp, colours away from zero and wide Gaussians: no kink within the step of the finite difference.
    splats = to_dtype(random_splats(6, 7, 5, degree=1, channels=2, smallest=-1.0, seed=3), torch.float64)
    splats = replace(splats, opacities=splats.opacities.clamp(-1.0, 1.0), sh0=splats.sh0.abs() + 0.5, screen_gradients=None)

    def render(means, quats, scales, opacities, sh0, shN, extra):
        moved = replace(
            splats,
            means=means,
            quats=quats,
            scales=scales,
            opacities=opacities,
            sh0=sh0,
            shN=shN,
            extra=extra,
            contribution=False,
        )
        output = rasterize(moved, "reference")
        return output.color, output.depth, output.alpha, output.extra

    leaves = [
        getattr(splats, name).clone().requires_grad_()
        for name in ("means", "quats", "scales", "opacities", "sh0", "shN", "extra")
    ]
    assert torch.autograd.gradcheck(render, leaves, atol=1e-5, rtol=1e-4, nondet_tol=0.0)


@needs_native
def test_pose_gradient_matches_finite_differences():
    splats = to_dtype(random_splats(30, 24, 18, degree=2, smallest=-2.0, seed=5), torch.float64)
    weights = torch.randn(18, 24, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def loss(twist: torch.Tensor) -> torch.Tensor:
        zero = torch.zeros((), dtype=torch.float64)
        skew = torch.stack([zero, -twist[2], twist[1], twist[2], zero, -twist[0], -twist[1], twist[0], zero]).view(3, 3)
        move = torch.eye(4, dtype=torch.float64)
        move[:3, :3], move[:3, 3] = torch.matrix_exp(skew), twist[3:]
        return (rasterize(replace(splats, camera_from_world=move @ splats.camera_from_world), "reference").color * weights).sum()

    numeric = torch.stack([(loss(step) - loss(-step)) / 2e-6 for step in 1e-6 * torch.eye(6, dtype=torch.float64)])
    pose = splats.camera_from_world.float().requires_grad_()
    single = replace(to_dtype(splats, torch.float32), camera_from_world=pose)
    (rasterize(single, "native").color * weights.float()).sum().backward()
    at = splats.camera_from_world
    analytic = []
    for k in range(6):  # derivative of exp(twist)·pose at 0 in direction k
        generator = torch.zeros(4, 4, dtype=torch.float64)
        if k < 3:
            a, b = (k + 1) % 3, (k + 2) % 3
            generator[b, a], generator[a, b] = 1.0, -1.0
        else:
            generator[k - 3, 3] = 1.0
        analytic.append((pose.grad.double() * (generator @ at)).sum())
    assert relative_error(torch.stack(analytic), numeric) < 1e-3  # kinks at 1/255 inside the finite step


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_gaussian_peaks_where_pixel_centres_say(backend):
    # Centre projects to (20, 15), the corner shared by four pixels: those four are equal, and (20.5, 15.5) is half a pixel off.
    output = rasterize(one_splat(), backend)
    four = output.alpha[14:16, 19:21]
    assert torch.allclose(four, four[0, 0].expand(2, 2), atol=1e-6)
    variance = (50 * 0.2 / 4) ** 2 + DILATION
    expected = torch.sigmoid(torch.tensor(2.0)) * math.exp(-0.5 * 0.5 / variance)
    assert float(four[0, 0]) == pytest.approx(float(expected), rel=1e-5)
    # Moving it by +0.08 along X at depth 4 with f = 50 is exactly one pixel to the right, none down.
    moved = rasterize(one_splat(means=torch.tensor([[0.08, 0.0, 4.0]])), backend)
    torch.testing.assert_close(moved.alpha[:, 1:], output.alpha[:, :-1], atol=2e-3, rtol=0)
    assert not torch.allclose(moved.alpha[1:], output.alpha[:-1], atol=2e-2)


@pytest.mark.parametrize("backend", BACKENDS)
def test_quaternions_are_wxyz_and_turn_the_long_axis(backend):
    # Long axis X, turned +90° about the viewing axis Z: wide becomes tall.  Scales are unequal in all three axes; with the order
    # xyzw the same numbers would be a turn about Y and the picture would stay wide.
    long_x = torch.tensor([[0.4, 0.1, 0.05]]).log()
    half = math.sqrt(0.5)
    flat = rasterize(one_splat(scales=long_x), backend).alpha
    turned = rasterize(one_splat(scales=long_x, quats=torch.tensor([[half, 0.0, 0.0, half]])), backend).alpha
    assert flat[15, 28] > 0.1 > flat[22, 20]
    assert turned[22, 20] > 0.1 > turned[15, 28]


@pytest.mark.parametrize("backend", BACKENDS)
def test_nearer_gaussian_hides_farther_whatever_the_order(backend):
    two = one_splat(
        means=torch.tensor([[0.0, 0.0, 6.0], [0.0, 0.0, 4.0]]),
        quats=torch.tensor([[1.0, 0, 0, 0]] * 2),
        scales=torch.full((2, 3), 1.0).log(),
        opacities=torch.tensor([8.0, 8.0]),
        sh0=torch.tensor([[[2.0, -5.0, -5.0]], [[-5.0, 2.0, -5.0]]]),
        shN=torch.zeros(2, 0, 3),
    )
    center = rasterize(two, backend).color[15, 20]
    assert center[1] > 50 * center[0]  # green is nearer


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_add_up_and_extra_channels_equal_color(backend):
    splats = random_splats(200, 40, 33, degree=0, seed=8)
    colors = (0.28209479177387814 * splats.sh0[:, 0] + 0.5).clamp_min(0)
    output = rasterize(replace(splats, extra=colors, background=torch.zeros(3)), backend)
    torch.testing.assert_close(output.extra, output.color, atol=1e-5, rtol=1e-5)
    assert float(output.alpha.min()) >= 0 and float(output.alpha.max()) < 1
    assert float(output.contribution.weight_sum.sum()) == pytest.approx(float(output.alpha.sum()), rel=1e-4)
    assert int(output.contribution.argmax_count.sum()) == int((output.alpha > 0).sum())
    assert bool((output.contribution.pixel_count >= output.contribution.argmax_count).all())


@pytest.mark.parametrize("backend", BACKENDS)
def test_depth_of_a_fronto_parallel_sheet_is_exact(backend):
    side = torch.linspace(-3, 3, 25)
    x, y = torch.meshgrid(side, side, indexing="xy")
    n = x.numel()
    sheet = one_splat(
        means=torch.stack([x.flatten(), y.flatten(), torch.full((n,), 4.0)], dim=-1),
        quats=torch.tensor([[1.0, 0, 0, 0]]).expand(n, 4).contiguous(),
        scales=torch.tensor([[0.2, 0.2, 1e-3]]).log().expand(n, 3).contiguous(),
        opacities=torch.full((n,), 4.0),
        sh0=torch.zeros(n, 1, 3),
        shN=torch.zeros(n, 0, 3),
    )
    output = rasterize(sheet, backend)
    torch.testing.assert_close(output.depth / output.alpha, torch.full((30, 40), 4.0), atol=1e-4, rtol=0)


BAD_VALUES = [float("nan"), float("inf"), float("-inf"), 3e38, -3e38, 1e-42]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("field", ["means", "quats", "scales", "opacities", "sh0", "shN"])
@pytest.mark.parametrize("value", BAD_VALUES)
def test_one_bad_gaussian_spoils_nothing(backend, field, value):
    splats = random_splats(30, 24, 20, degree=1, seed=4)
    poisoned = getattr(splats, field).clone()
    poisoned[7] = value
    output, gradients = run(replace(splats, **{field: poisoned}), backend)
    assert torch.isfinite(output.color).all() and torch.isfinite(output.alpha).all()
    for name, gradient in gradients.items():
        assert torch.isfinite(gradient).all(), name
    if not math.isfinite(value):  # and the picture is that of the other 29
        rest = torch.arange(30) != 7
        others = {
            name: getattr(splats, name)[rest]
            for name in ("means", "quats", "scales", "opacities", "sh0", "shN", "screen_gradients")
        }
        torch.testing.assert_close(output.color.detach(), rasterize(replace(splats, **others), backend).color, atol=1e-6, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_zero_quaternion_behind_camera_and_empty(backend):
    output, gradients = run(one_splat(quats=torch.zeros(1, 4), contribution=True), backend)
    assert float(output.alpha.abs().max()) == 0 and float(gradients["quats"].abs().max()) == 0
    behind, _ = run(one_splat(means=torch.tensor([[0.0, 0.0, -4.0]])), backend)
    assert float(behind.alpha.abs().max()) == 0 and float(behind.radii[0]) == 0
    nothing = random_splats(0, 13, 9)
    output, gradients = run(nothing, backend)
    torch.testing.assert_close(output.color.detach(), nothing.background.expand(9, 13, 3))
    assert gradients["means"].shape == (0, 3)


@needs_native
def test_threads_do_not_change_a_bit():
    splats = random_splats(3000, 130, 75, degree=3, channels=4, seed=11)
    before = library.get_threads()
    try:
        library.set_threads(1)
        one_output, one = run(splats, "native")
        library.set_threads(3)
        many_output, many = run(splats, "native")
    finally:
        library.set_threads(before)
    assert torch.equal(one_output.color, many_output.color)
    assert torch.equal(one_output.contribution.weight_sum, many_output.contribution.weight_sum)
    for name in one:
        assert torch.equal(one[name], many[name]), name


@needs_native
def test_more_extra_channels_than_one_pass_holds():
    splats = random_splats(80, 30, 22, degree=0, channels=37, seed=2)
    want_output, want = run(to_dtype(splats, torch.float64), "reference")
    got_output, got = run(splats, "native")
    assert relative_error(got_output.extra, want_output.extra) < 1e-5
    for name in ("means", "scales", "extra"):
        assert relative_error(got[name], want[name]) < 1e-4, name


@needs_native
def test_activated_and_stored_parameters_agree():
    splats = random_splats(100, 30, 22, seed=6)
    activated = replace(splats, scales=splats.scales.exp(), opacities=splats.opacities.sigmoid(), stored=False)
    stored_output, stored = run(splats, "native")
    output, gradients = run(activated, "native")
    torch.testing.assert_close(output.color, stored_output.color, atol=1e-5, rtol=0)
    torch.testing.assert_close(gradients["scales"] * splats.scales.exp(), stored["scales"], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_spherical_harmonics_are_the_textbook_ones(degree):
    # Real harmonics from SciPy's complex ones with the Condon–Shortley phase kept: (−1)^m drops out of the literature's signs.
    directions = torch.nn.functional.normalize(torch.tensor([[0.3, -0.5, 0.8], [-0.7, 0.2, 0.1]], dtype=torch.float64), dim=-1)
    x, y, z = directions.unbind(-1)
    theta, phi = torch.arccos(z).numpy(), torch.arctan2(y, x).numpy()
    expected = []
    for order in range(degree + 1):
        for m in range(-order, order + 1):
            value = sph_harm_y(order, abs(m), theta, phi)
            expected.append(value.real if m == 0 else math.sqrt(2) * (value.imag if m < 0 else value.real))
    np.testing.assert_allclose(sh_basis(directions, degree).numpy(), np.stack(expected, axis=-1), atol=1e-12)


@pytest.mark.errors
def test_errors_name_the_argument():
    splats = random_splats(5, 8, 8, degree=1)
    with pytest.raises(ShapeError, match=r"quats.*5 rows.*4"):
        rasterize(replace(splats, quats=splats.quats[:4]), "reference")
    with pytest.raises(ShapeError, match="shN"):
        rasterize(replace(splats, sh_degree=3), "reference")
    with pytest.raises(ResourceError, match=r"native.*float64"):
        rasterize(to_dtype(splats, torch.float64), "native")


@needs_native
def test_workspaces_are_returned_without_backward():
    rasterize(random_splats(5, 8, 8), "native")
    free = len(native._Workspace._free)
    assert free >= 1
    for _ in range(3):  # each takes one and must give it back: without a graph, and when a graph is dropped unused
        rasterize(random_splats(5, 8, 8), "native")
        splats = random_splats(5, 8, 8)
        rasterize(replace(splats, means=splats.means.requires_grad_()), "native")
    assert len(native._Workspace._free) == free
