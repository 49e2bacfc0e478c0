"""Data sets of single objects with a class each, as :class:`~scenewise.scenes.classified_clouds.ClassifiedClouds`.

ModelNet40 and ModelNet10 (Wu et al. 2015, arXiv 1406.5670), resampled as PointNet++ publishes them:

modelnet40_normal_resampled/
  modelnet40_shape_names.txt            names of the classes, one a line; position = class id (modelnet10_… likewise)
  modelnet40_train.txt, _test.txt       names of the objects: airplane_0001 …
  airplane/airplane_0001.txt            x,y,z,nx,ny,nz a line, +Y up; normals are not read

and as meshes, which are sampled here:

ModelNet40/
  airplane/train/airplane_0001.off      +Z up; in some files "OFF" runs into the numbers behind it ("OFF490 518 0")
  airplane/test/airplane_0627.off       classes are numbered in the order of their names

ScanObjectNN (Uy et al. 2019, arXiv 1908.04616), clouds cut out of scans of rooms:

h5_files/main_split/                    main_split_nobg: the same without the points around the object
  training_objectdataset.h5             data f32 [n, 2048, 3], +Y up; label [n]; mask [n, 2048], -1 = not of the object
  test_objectdataset.h5
  training_objectdataset_augmentedrot_scale75.h5 …    variants: moved, turned, scaled

Clouds that are +Y up are turned by a quarter about X: (x, y, z) becomes (x, −z, y).  That is a rotation; swapping y and z would
mirror the objects.
"""
