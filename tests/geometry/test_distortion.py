"""Lens models and the pinhole images that replace them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenewise.errors import ConventionError
from scenewise.geometry.lens_cameras import LensCamera, distort
from scenewise.geometry.lens_models import LENS_MODELS
from scenewise.geometry.undistortion import sampling_map, undistorted_camera

RAYS = np.array([[0.0, 0.0], [0.3, -0.2], [-0.5, 0.4], [0.6, 0.45], [-0.1, -0.35]])
# Parameters, and the pixels of RAYS by COLMAP's own implementation (pycolmap 4.2.1, Camera.img_from_cam, 640×480).
COLMAP_PIXELS: dict[str, tuple[list[float], list[list[float]]]] = {
    "SIMPLE_PINHOLE": ([500, 322, 241], [[322.0, 241.0], [472.0, 141.0], [72.0, 441.0], [622.0, 466.0], [272.0, 66.0]]),
    "PINHOLE": ([500, 510, 322, 241], [[322.0, 241.0], [472.0, 139.0], [72.0, 445.0], [622.0, 470.5], [272.0, 62.5]]),
    "SIMPLE_RADIAL": (
        [500, 322, 241, 0.07],
        [[322.0, 241.0], [473.365, 140.09], [64.82499999999999, 446.74], [633.8125, 474.859375], [271.53625, 64.37687500000001]],
    ),
    "RADIAL": (
        [500, 322, 241, 0.07, -0.03],
        [
            [322.0, 241.0],
            [473.28895, 140.14069999999998],
            [66.08574999999999, 445.7314],
            [630.96484375, 472.7236328125],
            [271.56258437500003, 64.46904531250001],
        ],
    ),
    "OPENCV": (
        [500, 510, 322, 241, 0.07, -0.03, 0.004, -0.006],
        [
            [322.0, 241.0],
            [472.11895000000004, 138.91911399999998],
            [62.55574999999999, 452.539228],
            [628.19734375, 477.67940546875],
            [271.245084375, 61.49432621874999],
        ],
    ),
    "OPENCV_FISHEYE": (
        [500, 510, 322, 241, 0.07, -0.03, 0.02, -0.01],
        [
            [322.0, 241.0],
            [467.11370618404214, 142.32267979485133],
            [95.15972900443955, 426.10166113237733],
            [585.8273312473233, 442.8279084042023],
            [273.65850591179, 68.42086610509017],
        ],
    ),
    "FULL_OPENCV": (
        [500, 510, 322, 241, 0.07, -0.03, 0.004, -0.006, 0.02, 0.05, -0.02, 0.01],
        [
            [322.0, 241.0],
            [471.1956841203702, 139.54693479814827],
            [66.69951039007881, 449.1579195216957],
            [622.124043850192, 473.03333104539695],
            [271.55839652005676, 62.61285057660271],
        ],
    ),
    "FOV": (
        [500, 510, 322, 241, 0.9],
        [
            [322.0, 241.0],
            [476.942377154038, 135.63918353525412],
            [81.66908481224502, 437.1100267932081],
            [600.6820196358624, 454.19174502143477],
            [270.3888655829516, 56.74825013113727],
        ],
    ),
    "SIMPLE_RADIAL_FISHEYE": (
        [500, 322, 241, 0.07],
        [
            [322.0, 241.0],
            [467.17099013540593, 144.21933990972937],
            [94.58500155290733, 422.93199875767414],
            [586.8615962458675, 439.6461971844006],
            [273.63877046145603, 71.73569661509615],
        ],
    ),
    "RADIAL_FISHEYE": (
        [500, 322, 241, 0.07, -0.03],
        [
            [322.0, 241.0],
            [467.1090580296572, 144.2606279802285],
            [95.28689415058003, 422.370484679536],
            [585.5374750309413, 438.653106273206],
            [273.6601359984962, 71.8104759947366],
        ],
    ),
    "THIN_PRISM_FISHEYE": (
        [500, 510, 322, 241, 0.07, -0.03, 0.004, -0.006, 0.02, -0.01, 0.003, -0.002],
        [
            [322.0, 241.0],
            [466.21559259620824, 142.93339703457838],
            [92.85353821518581, 427.9173413592512],
            [584.4111308719212, 442.64206316195657],
            [273.5492839588873, 68.80785672979576],
        ],
    ),
    "RAD_TAN_THIN_PRISM_FISHEYE": (
        [500, 510, 322, 241, 0.07, -0.03, 0.02, -0.01, 0.005, -0.003, 0.004, -0.006, 0.003, -0.002, 0.0015, 0.001],
        [
            [322.0, 241.0],
            [468.19861459898425, 141.59276734281343],
            [98.03535930849048, 423.90965176950215],
            [587.0333429173421, 441.82846430535136],
            [273.9177455189828, 67.57711339739069],
        ],
    ),
    "SIMPLE_DIVISION": (
        [500, 322, 241, -0.1],
        [
            [322.0, 241.0],
            [470.0991099806546, 142.2672600128969],
            [81.4868392045909, 433.4105286363273],
            [606.7924828238208, 454.59436211786556],
            [272.64550454863365, 68.2592659202177],
        ],
    ),
    "DIVISION": (
        [500, 510, 322, 241, -0.1],
        [
            [322.0, 241.0],
            [470.0991099806546, 140.29260521315484],
            [81.4868392045909, 437.25873920905383],
            [606.7924828238208, 458.8662493602229],
            [272.64550454863365, 64.80445123862205],
        ],
    ),
    "SIMPLE_FISHEYE": (
        [500, 322, 241],
        [
            [322.0, 241.0],
            [465.9642253505457, 145.02384976630285],
            [99.63401952599801, 418.8927843792016],
            [579.4004435173138, 434.0503326379853],
            [274.0478411873623, 73.1674441557679],
        ],
    ),
    "FISHEYE": (
        [500, 510, 322, 241],
        [
            [322.0, 241.0],
            [465.9642253505457, 143.1043267616289],
            [99.63401952599801, 422.45064006678564],
            [579.4004435173138, 437.911339290745],
            [274.0478411873623, 69.81079303888328],
        ],
    ),
    "EUCM": (
        [500, 510, 322, 241, 0.6, 1.2],
        [
            [322.0, 241.0],
            [465.52629763098224, 143.40211761093207],
            [101.32441181791037, 421.07127995658516],
            [576.9869613991109, 436.0650254703198],
            [274.1961643227793, 70.3403066323221],
        ],
    ),
}


def lens(model: str) -> LensCamera:
    return LensCamera(model, tuple(map(float, COLMAP_PIXELS[model][0])), 640, 480)


FOX = LensCamera("OPENCV", (1375.52, 1374.49, 554.558, 965.268, 0.0578421, -0.0805099, -0.000980296, 0.00015575), 1080, 1920)
STRONG = [
    LensCamera("OPENCV_FISHEYE", (305.0, 305.0, 320.0, 240.0, 0.0, 0.0, 0.0, 0.0), 640, 480),  # 120° across
    LensCamera("SIMPLE_FISHEYE", (190.0, 325.0, 236.0), 640, 480),  # beyond 180° across
    LensCamera("EUCM", (250.0, 250.0, 318.0, 243.0, 0.62, 1.1), 640, 480),
    LensCamera("SIMPLE_RADIAL", (500.0, 330.0, 230.0, -0.5), 640, 480),  # folds back within the picture's diagonal
    LensCamera("SIMPLE_RADIAL", (500.0, 330.0, 230.0, 0.5), 640, 480),
    LensCamera("RADIAL", (400.0, 330.0, 230.0, -0.35, 0.12), 640, 480),
    LensCamera("DIVISION", (400.0, 410.0, 330.0, 230.0, -0.4), 640, 480),
    LensCamera("OPENCV", (500.0, 480.0, 200.0, 300.0, -0.2, 0.05, 0.01, -0.02), 640, 480),
]
LENSES = [lens(model) for model in COLMAP_PIXELS] + [FOX, *STRONG]


def name_of(lens_camera: LensCamera) -> str:
    return f"{lens_camera.model}-{LENSES.index(lens_camera)}"


def test_every_model_has_its_anchor():
    assert set(COLMAP_PIXELS) == set(LENS_MODELS)


@pytest.mark.parametrize("model", COLMAP_PIXELS)
def test_pixels_agree_with_colmap(model: str):
    np.testing.assert_allclose(distort(lens(model), RAYS), COLMAP_PIXELS[model][1], atol=1e-9)


@pytest.mark.parametrize("model", [name for name, (params, _) in COLMAP_PIXELS.items() if len(params) > 4])
def test_every_parameter_matters(model: str):
    """Swapping two neighbouring parameters is noticed: the anchors are asymmetric."""
    params = list(lens(model).params)
    for index in range(len(params) - 1):
        swapped = params.copy()
        swapped[index : index + 2] = swapped[index + 1], swapped[index]
        moved = distort(LensCamera(model, tuple(swapped), 640, 480), RAYS)
        assert not np.allclose(moved, COLMAP_PIXELS[model][1], atol=1e-3)


def test_first_pixel_centre_by_hand():
    camera = LensCamera("SIMPLE_RADIAL", (100.0, 10.0, 20.0, 0.5), 64, 48)
    # x = 0.2, y = −0.1: r² = 0.05, factor 1.025, u = 100·0.205 + 10, v = −100·0.1025 + 20
    np.testing.assert_allclose(distort(camera, np.array([0.2, -0.1])), [30.5, 9.75], atol=1e-12)
    pinhole = LensCamera("SIMPLE_PINHOLE", (100.0, 10.0, 20.0), 64, 48)
    np.testing.assert_allclose(sampling_map(pinhole, undistorted_camera(pinhole))[0, 0], [0.5, 0.5])


def test_opencv_models_agree_with_opencv():
    cv2 = pytest.importorskip("cv2")
    points = np.c_[RAYS, np.ones(len(RAYS))]
    for model in ("OPENCV", "FULL_OPENCV"):
        camera = lens(model)
        pixels, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), camera.K, np.array(camera.extra))
        np.testing.assert_allclose(distort(camera, RAYS), pixels[:, 0], atol=1e-9)
    camera = lens("OPENCV_FISHEYE")
    pixels, _ = cv2.fisheye.projectPoints(points[:, None], np.zeros(3), np.zeros(3), camera.K, np.array(camera.extra))
    np.testing.assert_allclose(distort(camera, RAYS), pixels[:, 0], atol=1e-9)


@pytest.mark.parametrize("camera", LENSES, ids=name_of)
def test_no_pixel_of_the_pinhole_image_lies_outside_the_photograph(camera: LensCamera):
    pinhole = undistorted_camera(camera)
    K = pinhole.K
    x, y = (np.arange(pinhole.width) + 0.5 - K[0, 2]) / K[0, 0], (np.arange(pinhole.height) + 0.5 - K[1, 2]) / K[1, 1]
    pixels = distort(camera, np.stack(np.broadcast_arrays(x[None], y[:, None]), axis=-1))
    assert np.isfinite(pixels).all()
    assert pixels.min() > 0.45
    assert pixels[..., 0].max() < camera.width - 0.45 and pixels[..., 1].max() < camera.height - 0.45
    # The clamp in the map, which keeps interpolation off the edge, moves nothing noticeably.
    np.testing.assert_allclose(sampling_map(camera, pinhole), pixels, atol=0.05)


@pytest.mark.parametrize("camera", LENSES, ids=name_of)
def test_no_fold_within_the_pinhole_image(camera: LensCamera):
    """Columns never run backwards: the photograph is not shown twice."""
    positions = sampling_map(camera, undistorted_camera(camera))
    assert np.diff(positions[..., 0], axis=1).min() > -0.05 and np.diff(positions[..., 1], axis=0).min() > -0.05


@pytest.mark.parametrize("camera", [FOX, lens("OPENCV"), lens("SIMPLE_RADIAL"), lens("OPENCV_FISHEYE"), *STRONG], ids=name_of)
def test_no_side_could_be_moved_out(camera: LensCamera):
    """Beyond each side by two pixels something is outside the photograph, folded, or past the widest field."""
    pinhole = undistorted_camera(camera)
    K, out = pinhole.K, 2.5
    columns, rows = np.arange(pinhole.width) + 0.5, np.arange(pinhole.height) + 0.5
    sides = {
        "left": np.stack([np.full_like(rows, 0.5 - out), rows], -1),
        "right": np.stack([np.full_like(rows, pinhole.width - 0.5 + out), rows], -1),
        "top": np.stack([columns, np.full_like(columns, 0.5 - out)], -1),
        "bottom": np.stack([columns, np.full_like(columns, pinhole.height - 0.5 + out)], -1),
    }
    for name, side in sides.items():
        rays = (side - K[:2, 2]) / [K[0, 0], K[1, 1]]
        pixels = distort(camera, rays)
        outside = ((pixels < 0.5) | (pixels > [camera.width - 0.5, camera.height - 0.5])).any()
        step = distort(camera, rays * 1.002) - pixels
        folded = (np.sum(step * rays, axis=-1) <= 0).any()
        assert outside or folded or np.abs(rays).max() > math.tan(math.radians(69.5)) or np.isnan(pixels).any(), name


def test_fox_keeps_nearly_all_of_its_picture():
    cv2 = pytest.importorskip("cv2")
    pinhole = undistorted_camera(FOX)
    assert (pinhole.width // 4, pinhole.height // 4) == (269, 480)
    best, _ = cv2.getOptimalNewCameraMatrix(FOX.K, np.array(FOX.extra), (1080, 1920), 0)
    ours = np.array([pinhole.width / pinhole.K[0, 0], pinhole.height / pinhole.K[1, 1]])
    np.testing.assert_allclose(ours, [1080 / best[0, 0], 1920 / best[1, 1]], rtol=2e-3)  # the same field of view


def test_a_fisheye_does_not_make_the_picture_larger_and_keeps_square_pixels():
    pinhole = undistorted_camera(STRONG[0])
    assert pinhole.width <= 640 and pinhole.height <= 480
    assert pinhole.K[0, 0] == pytest.approx(pinhole.K[1, 1])
    across = 2 * math.degrees(math.atan(pinhole.width / 2 / pinhole.K[0, 0]))
    assert 119 < across < 120.5  # the whole of the lens's 120°


def test_a_lens_without_distortion_is_left_alone():
    pinhole = undistorted_camera(LensCamera("OPENCV", (500.0, 510.0, 322.0, 241.0, 0.0, 0.0, 0.0, 0.0), 640, 480))
    assert (pinhole.width, pinhole.height) == (640, 480)
    np.testing.assert_array_equal(pinhole.K, [[500, 0, 322], [0, 510, 241], [0, 0, 1]])


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    k1=st.floats(-0.25, 0.25),
    k2=st.floats(-0.1, 0.1),
    p1=st.floats(-0.01, 0.01),
    p2=st.floats(-0.01, 0.01),
    cx=st.floats(250, 390),
    cy=st.floats(180, 300),
)
def test_usual_lenses_leave_no_border(k1: float, k2: float, p1: float, p2: float, cx: float, cy: float):
    camera = LensCamera("OPENCV", (520.0, 500.0, cx, cy, k1, k2, p1, p2), 640, 480)
    pinhole = undistorted_camera(camera)
    corners = np.array(
        [[0.5, 0.5], [pinhole.width - 0.5, 0.5], [0.5, pinhole.height - 0.5], [pinhole.width - 0.5, pinhole.height - 0.5]]
    )
    t = np.linspace(0, 1, 50)[:, None]
    border = np.concatenate([a + t * (b - a) for a in corners for b in corners])
    pixels = distort(camera, (border - pinhole.K[:2, 2]) / [pinhole.K[0, 0], pinhole.K[1, 1]])
    assert pixels.min() > 0.4 and pixels[:, 0].max() < 639.6 and pixels[:, 1].max() < 479.6
    assert pinhole.width > 300 and pinhole.height > 220


@pytest.mark.parametrize("model", COLMAP_PIXELS)
def test_resizing_scales_pixels(model: str):
    camera = lens(model)
    for width, height in ((320, 240), (160, 120), (213, 160)):
        small = camera.resized(width, height)
        assert (small.width, small.height) == (width, height)
        np.testing.assert_allclose(distort(small, RAYS), distort(camera, RAYS) * [width / 640, height / 480], atol=1e-9)


# ---------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("model", "params", "size", "message"),
    [
        ("EQUIRECTANGULAR", (640.0, 480.0), (640, 480), "EQUIRECTANGULAR"),
        ("WOBBLY", (1.0,), (640, 480), "WOBBLY"),
        ("PINHOLE", (1.0, 2.0, 3.0), (640, 480), "4 numbers"),
        ("PINHOLE", (1.0, 2.0, math.nan, 4.0), (640, 480), "finite"),
        ("PINHOLE", (1.0, -2.0, 3.0, 4.0), (640, 480), "above 0"),
        ("PINHOLE", (1.0, 2.0, 3.0, 4.0), (640, 0), "1×1"),
    ],
)
def test_lenses_that_cannot_be(model: str, params: tuple[float, ...], size: tuple[int, int], message: str):
    with pytest.raises(ConventionError, match=message):
        LensCamera(model, params, *size)


def test_a_lens_of_another_image():
    with pytest.raises(ConventionError, match="visible"):
        undistorted_camera(LensCamera("OPENCV_FISHEYE", (3.0, 3.0, 5000.0, 5000.0, 1.0, 1.0, 1.0, 1.0), 640, 480))
