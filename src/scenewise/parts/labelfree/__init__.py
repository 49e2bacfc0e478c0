"""Learning names without labels: what CLIP2Scene, CNS and HICL are composed of.

supervision    rows (element, class) that a student is trained on
label_sources  where they come from in a step
students       a backbone with an embedding head, compared with text
regularisers   what else is asked of a student
trainer        the loop that knows recipes, never a paper
"""
