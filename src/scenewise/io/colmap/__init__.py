"""COLMAP models, text and binary (https://colmap.github.io/format.html).

World-to-camera poses, quaternions wxyz, OpenCV camera axes, pixel centres at half-integers: exactly our conventions, so nothing
is changed.  Only ``cameras``, ``images`` and ``points3D`` are read; ``rigs``, ``frames`` and later additions are ignored.
"""
