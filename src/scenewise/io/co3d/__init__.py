"""Sequences of CO3D (Reizenstein et al. 2021, arXiv 2109.00512) in the layout of its second version, opened as captures.

root/<category>/                        "apple", "chair" …
  frame_annotations.jgz                 gzipped JSON list: a record for each frame of every sequence of the category
  sequence_annotations.jgz              likewise for each sequence: point cloud, quality of poses and points; optional
  <sequence>/images/frame000001.jpg     all of one size within a sequence
  <sequence>/masks/frame000001.png      probability that a pixel is of the object, 255 = 1
  <sequence>/depths/frame000001.jpg.geometric.png     16 bits a pixel that are those of a float16
  <sequence>/depth_masks/frame000001.png              0 where that depth contradicts other views
  <sequence>/pointcloud.ply             the object's points, where the reconstruction gave any

A frame's camera is PyTorch3D's: +X left, +Y up, +Z forward; positions are rows, so points_in_camera = points_in_world @ R + T.
Focal lengths and principal point are in PyTorch3D's normalised coordinates, which grow to the left and up from the middle of the
image.  They reach ±1 at the borders of the shorter side ("ndc_isotropic"), or at the borders of each side
("ndc_norm_image_bounds", also where no format is named).  Lengths are of no known unit: captures are of arbitrary scale.
"""
