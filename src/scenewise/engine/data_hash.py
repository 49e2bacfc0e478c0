"""Checksum of what a run trains on, so that results and checkpoints name their data."""

import hashlib
from pathlib import Path

import numpy as np

from scenewise.scenes.captures import Capture

_HEAD_BYTES = 1 << 16


def capture_hash(capture: Capture) -> str:
    """SHA-256 over names, cameras, split and points, and over the size and first 64 KiB of every image and
    mask file.

    Reading whole files would double the time to start on thousands of photographs; a file that was replaced or cut off differs in
    its size or its head.  Paths do not enter, so a moved or copied capture has the same hash.
    """
    digest = hashlib.sha256()
    for frame in capture.frames:
        camera = frame.camera
        digest.update(
            f"{frame.name}|{camera.width}x{camera.height}|{frame.name in capture.test_names}|{frame.has_image}|".encode()
        )
        digest.update(camera.camera_from_world.cpu().contiguous().numpy().tobytes())
        digest.update(camera.K.cpu().contiguous().numpy().tobytes())
        if frame.has_image and frame.image_path is not None:
            _update_with_file(digest, frame.image_path)
        if frame.has_image and frame.load_mask is not None:
            digest.update(b"mask")
            if frame.mask_path is not None:
                _update_with_file(digest, frame.mask_path)
    if capture.points is not None:
        digest.update(np.ascontiguousarray(capture.points.points_in_world).tobytes())
        if capture.points.colors_u8 is not None:
            digest.update(np.ascontiguousarray(capture.points.colors_u8).tobytes())
    digest.update(f"{capture.background}|{capture.preset}".encode())
    return digest.hexdigest()


def head_digest(path: Path) -> str:
    """SHA-256 over size and first 64 KiB of one file; see :func:`capture_hash`."""
    digest = hashlib.sha256()
    _update_with_file(digest, path)
    return digest.hexdigest()


def _update_with_file(digest: "hashlib._Hash", path: Path) -> None:
    try:
        digest.update(str(path.stat().st_size).encode())
        with path.open("rb") as file:
            digest.update(file.read(_HEAD_BYTES))
    except OSError:  # a virtual frame, or gone meanwhile: the decoder will say so
        digest.update(b"unreadable")
