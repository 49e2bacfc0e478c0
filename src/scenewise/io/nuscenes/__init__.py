"""Keyframes of nuScenes in the official layout: a LiDAR sweep, the cameras around it, boxes and point labels.

v1.0-mini/*.json                          tables: lists of records linked by tokens
samples/CAM_FRONT/….jpg                   1600×900, rectified
samples/LIDAR_TOP/….pcd.bin               f32 x, y, z, intensity, ring per point, in the LiDAR's frame
lidarseg/v1.0-mini/…_lidarseg.bin         optional, u8 category index per point

Every sensor fires at its own time, and the car moves in between, so a point reaches a camera through the world:

    camera ← ego at the camera's time ← global ← ego at the LiDAR's time ← LiDAR

The world frame of what is read here is the car's at the LiDAR's time (+X forward, +Y left, +Z up), not the global one: there,
coordinates have four digits before the point and lose a tenth of a millimetre in float32.  ``Capture.world_from_source`` is
world_from_global, whose inverse leads back.
"""
