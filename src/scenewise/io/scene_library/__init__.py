"""A library of scenes on LanceDB: vectors, pictures and facts of many scenes, in a folder or on object storage.

:func:`~scenewise.io.scene_library.store.create_library` and :func:`~scenewise.io.scene_library.store.open_library` give a
:class:`~scenewise.io.scene_library.store.SceneLibrary`; what goes in and comes out are the records of
:mod:`scenewise.io.scene_library.records`.  ``docs/scene_library.md`` tells what lies on the disk and what is promised.

scenes.lance      a row per scene: the commit point.  Its schema's metadata holds the facts of the library
views.lance       a row per picture
objects.lance     a row per object
keypoints.lance   a row per key point
"""
