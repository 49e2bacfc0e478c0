"""Learning names without labels: what CLIP2Scene, CNS and HICL are composed of.

scans         what a learner may know of a scan: points, views, what the teacher said, segments; never truth
supervision   rows (element, class) that a student is trained on, and where they come from
students      a backbone with an embedding head, compared with text
"""
