"""``python -m scenewise.studies STUDY [options]``: runs a study again."""

import importlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

import tyro

from scenewise.engine.jobs import end_with_parent
from scenewise.errors import ScenewiseError

STUDIES: Mapping[str, str] = {
    "gaussian_splatting": "quality within a time, exact budgets, and resumption, on real captures and the procedural room",
    "distilled_3dgs": "students of several teachers against pruning and MCMC, on two real captures",
    "momentum_gs": "blocks with one decoder against one model, own decoders and explicit Gaussians, on procedural towns",
    "condense": "consistent 2D and 3D features and a library of scenes, on procedural rooms",
    "vl_sat": "scene graphs with an oracle and without, on procedural rooms and in a control world",
    "sc_clip": "read-outs of the embedded model on procedural rooms",
    "small_clip": "trains the embedded model from nothing",
    "scene_graph": "trains the embedded scene-graph network from nothing",
    "condense_weights": "trains the embedded 2D and 3D encoders from nothing",
    "relation_text": "trains the embedded text tower of triplet sentences from nothing",
    "clip2scene": "CLIP2Scene on procedural rooms",
    "hicl": "HICL's ladder on procedural rooms",
    "cns": "CNS and what it is without its parts, on procedural rooms",
    "union": "the union beside HICL and CNS, on procedural rooms",
    "scene_graphs": "from photographs to scene graphs on procedural rooms, and pictures of a real kitchen",
    "quality": "single arms of gaussian_splatting, a line per run",
    "kill_resume": "kills a training at random moments and compares the bits",
    "real_scenes": "segment and query on real captures, with pictures",
    "library_real": "halves of real captures find each other in a library",
    "label_free_real": "train, predict and eval on real captures, with pictures",
}
"""Every study: its module below ``scenewise.studies``, and what it is about."""


def without_piece(arguments: Sequence[str]) -> tuple[list[str], str | None]:
    """The words without ``--only PIECE``, which processes that a study starts are told and nobody else, and the piece.

    >>> without_piece(["--jobs", "2", "--only", "room_0", "--quick"])
    (['--jobs', '2', '--quick'], 'room_0')
    """
    words = list(arguments)
    if "--only" not in words[:-1]:
        return words, None
    place = words.index("--only")
    return [*words[:place], *words[place + 2 :]], words[place + 1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one study; returns the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] not in STUDIES:
        asked_for_help = bool(arguments) and arguments[0] in ("-h", "--help")
        lines = ["usage: python -m scenewise.studies STUDY [options]", ""]
        lines += [f"  {name:<20}{about}" for name, about in STUDIES.items()]
        print("\n".join(lines), file=sys.stdout if asked_for_help else sys.stderr)
        return 0 if asked_for_help else 2
    name, *rest = arguments
    rest, piece = without_piece(rest)
    end_with_parent()
    study = importlib.import_module(f"scenewise.studies.{name}")
    options = tyro.cli(
        study.Options,
        prog=f"python -m scenewise.studies {name}",
        description=study.__doc__,
        args=rest,
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes),
    )
    if piece is not None:
        options = replace(options, processes=replace(options.processes, only=piece))
    try:
        return int(study.main(options))
    except ScenewiseError as error:
        print(f"scenewise: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
