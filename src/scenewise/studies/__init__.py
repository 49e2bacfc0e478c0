"""Studies: what the methods are worth, measured by arms and judged by claims, and how to measure it again.

``python -m scenewise.studies METHOD [--quick]`` runs one; ``scenewise.studies.__main__.STUDIES`` names them all.  Studies use
commands as a person would, and nothing below imports them.
"""
