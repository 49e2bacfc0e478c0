"""Numbers as pictures."""

import io

import numpy as np
from PIL import Image

from scenewise.io.images import image_u8_from_color, png_bytes
from scenewise.show.pictures import depth_picture, error_picture, thumbnail

GREY = np.full((6, 8, 3), 128, dtype=np.uint8)


def test_pictures_round_clamp_and_keep_size():
    color = np.array([[[-1.0, 0.5, 2.0], [np.nan, 1.0, 0.001]]])
    assert image_u8_from_color(color).tolist() == [[[0, 128, 255], [0, 255, 0]]]
    assert thumbnail(np.zeros((100, 50, 3), np.uint8), 20).shape == (20, 10, 3)
    assert thumbnail(GREY, 20) is GREY
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png_bytes(GREY)))), GREY)


def test_brighter_means_a_larger_error_and_a_smaller_depth():
    error = error_picture(np.zeros((1, 3, 3), np.uint8), np.array([[[0] * 3, [20] * 3, [60] * 3]], np.uint8)).sum(axis=2)[0]
    assert error[0] < error[1] < error[2]
    depth = depth_picture(np.array([[1.0, 2.0, 8.0, 0.0]]), near=1.0, far=8.0).astype(int).sum(axis=2)[0]
    assert depth[0] > depth[1] > depth[2] > depth[3] == 0
