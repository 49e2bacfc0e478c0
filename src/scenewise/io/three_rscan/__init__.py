"""Scans with relations between their things, in the layout of 3DSSG on 3RScan as VL-SAT reads it; read and written.

root/
  3DSSG_subset/                                  or 3DSSG/, or the files directly in root
    classes.txt                                  names of the classes, one a line
    relationships.txt                            "none" and the predicates; also without "none", also called relations.txt
    train_scans.txt, validation_scans.txt        scans of each split; optional
    relationships_train.json, _validation.json   {"scans": [{"scan", "split", "objects": {id: name},
                                                  "relationships": [[subject, object, number of predicate, predicate], …]}, …]}
  3RScan/<scan>/                                 or the scans directly in root
    labels.instances.align.annotated.v2.ply      vertices with objectId, in the frame of the room's first scan
    labels.instances.annotated.v2.ply            the same in the frame of this scan's cameras
    semseg.v2.json                               optional: what annotators called each object
    sequence/_info.txt                           sizes and intrinsics of colour and depth
    sequence/frame-000000.color.jpg, .depth.pgm, .pose.txt     4×4 world_from_camera in metres

A scan is cut into sub-scans ("split" 1, 2 …) of at most nine things; 0 stands for a scan that was not cut.
Sources: Wald et al. 2019, arXiv 1908.06109 (3RScan); Wald et al. 2020, arXiv 2004.03967 (3DSSG).
"""
