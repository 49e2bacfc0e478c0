"""RGB-D folders: the 7-Scenes layout written and read, the TUM layout read.

camera-intrinsics.txt        3×3 K, pixel centres at integers (we add ½)
color-intrinsics.txt         optional: K of the colour camera alone
depth-intrinsics.txt         optional: K of the depth camera alone, in pixels of the depth maps
depth_from_color.txt         optional: 4×4 rigid, metres, takes points in the colour camera's axes to the depth camera's
capture.json                 optional: scale, up, class names, licence, held-out frames, whose the poses are, colour distortion
frame-000000.color.png|jpg   sRGB
frame-000000.depth.png       u16 millimetres along +Z; 0 and 65535 = no measurement
frame-000000.pose.txt        4×4 world_from_camera, OpenCV axes, metres
frame-000000.class.png       optional u16 class ids, 65535 = unknown
frame-000000.instance.png    optional u16 instance ids, 65535 = unknown
"""
