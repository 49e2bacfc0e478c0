"""The viewer as a person sees it: in Chromium without a window."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("viser")

from tests.support.small_room import TruthfulSearcher

from scenewise.show.viewer.browser import HeadlessBrowser, find_browser
from scenewise.show.viewer.server import SceneViewer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_browser() is None, reason="no Chromium or Chrome is installed"),
]

WIDTH, HEIGHT, PANEL = 800, 420, 340


def redness(picture: np.ndarray) -> float:
    """How much redder than grey a part of a picture is, in grey levels."""
    return float((picture[..., 0].astype(float) - picture[..., 1:].mean(axis=-1)).mean())


def blueness(picture: np.ndarray) -> float:
    return float((picture[..., 2].astype(float) - picture[..., :2].mean(axis=-1)).mean())


def wait_for(browser: HeadlessBrowser, is_right: Callable[[np.ndarray, np.ndarray], bool], what: str) -> np.ndarray:
    """The page as soon as the left and the right half of the scene look right."""
    until = time.monotonic() + 90.0
    while True:
        page = browser.picture()
        middle = (WIDTH - PANEL) // 2
        scene = page[HEIGHT // 4 : HEIGHT // 2]
        if is_right(scene[:, middle // 4 : middle // 2], scene[:, middle + middle // 2 : middle + 3 * middle // 4]):
            return page
        if time.monotonic() > until:
            pytest.fail(f"{what}: left {scene[:, :middle].mean(axis=(0, 1))}, right {scene[:, middle:].mean(axis=(0, 1))}")
        time.sleep(0.1)


def test_a_typed_word_lights_up(room_folder: Path):
    with SceneViewer(room_folder, TruthfulSearcher()) as viewer, HeadlessBrowser(viewer.url, WIDTH, HEIGHT) as browser:
        before = wait_for(browser, lambda left, right: blueness(left) > 40 and redness(right) > 40, "sofa blue, lamp orange")
        panel = before[:, WIDTH - PANEL + 10 :]
        assert panel.std() > 15 and np.median(panel) < 80  # text on a dark ground
        texts = browser.evaluate("document.body.innerText")
        assert "328 splats" in texts and "truth & co" in texts and "photos <b>: CC0-1.0" in texts

        browser.evaluate("document.querySelector('form input').focus()")
        browser.type_text("sofa")
        browser.press_enter()
        wait_for(browser, lambda left, right: redness(left) > 40 and blueness(right) > -25, "sofa red, lamp faded")
        assert "1 place answers sofa" in browser.evaluate("document.body.innerText")
        assert viewer.look.mode == "heat"

        drawn = viewer.render(96, 64)  # what the README's picture is made with
        assert drawn.shape == (64, 96, 3) and redness(drawn[16:36, 10:35]) > 40 > redness(drawn[16:36, 60:85])
