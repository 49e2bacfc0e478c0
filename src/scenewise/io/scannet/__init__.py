"""ScanNet scenes: exported folders and ``.sens`` streams read, exported folders written.

scene0000_00/
  color/0.jpg  depth/0.png  pose/0.txt           u16 millimetres, 0 = no measurement; 4×4 world_from_camera, OpenCV axes
  intrinsic/intrinsic_color.txt, _depth.txt      4×4, pixel centres at integers (we add ½); or intrinsics_color.txt
  intrinsic/extrinsic_color.txt, _depth.txt      optional 4×4, metres: from each camera to the one that the poses place
  label/0.png                                    optional NYU40 ids per pixel, 0 = unlabelled
  scene0000_00.sens                              instead of the folders
  scene0000_00_vh_clean_2.ply                    the fused mesh, +Z up
  scene0000_00_vh_clean_2.labels.ply             the same vertices with the property ``label``, NYU40
  scene0000_00_vh_clean_2.0.010000.segs.json     the segments that annotators painted on
  scene0000_00.aggregation.json                  objects as lists of segments
  scene0000_00.txt                               axisAlignment = 16 numbers

Frames whose pose is not finite (tracking was lost) are left out and counted.  Colour and depth have lenses of their own: depth is
looked up through its own intrinsics at each colour pixel, or registered with occlusion where the cameras stand apart.  Poses and
mesh share one frame, which is kept; ``axis_alignment`` is offered, not applied.
"""
