"""The network that ``--network`` names."""

from pathlib import Path

from scenewise.errors import DataFormatError
from scenewise.io.graph_run_folder import GRAPH_NETWORK_FILE, GRAPH_RUN
from scenewise.io.run_folder import is_run_folder
from scenewise.methods.vl_sat.network_file import WEIGHTS, embedded_network, read_graph_network
from scenewise.parts.graphs.building import RelationNetwork


def open_network(choice: str) -> RelationNetwork | None:
    """What tells relations that geometry does not, or None.

    Args:
        choice: "auto" for the one that comes with the package, where it does; "none"; a run of ``scenewise train-graph``; or the
            file of a network.

    Raises:
        DataFormatError: nothing there, no such network, or a run that is not finished.
    """
    if choice == "none":
        return None
    if choice == "auto":
        return embedded_network() if WEIGHTS.is_file() else None
    place = Path(choice).expanduser()
    if not place.is_dir():
        return read_graph_network(place)
    file = place / GRAPH_NETWORK_FILE
    if file.is_file():
        return read_graph_network(file, place.resolve().name)
    if is_run_folder(place, GRAPH_RUN):
        fix = "go on with scenewise train-graph … --resume"
        raise DataFormatError(place, expected="a finished training", got=f"no {GRAPH_NETWORK_FILE} yet", fix=fix)
    raise DataFormatError(
        place,
        expected="a trained network for relations: a run of scenewise train-graph, or its file",
        got=f"a folder without {GRAPH_NETWORK_FILE}",
        fix="--network auto, or none",
    )
