"""The network that ``--network`` names."""

from pathlib import Path

from scenewise.io.training_records import GRAPH_RUN, network_at
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
    expected = "a trained network for relations: a run of scenewise train-graph, or its file"
    return read_graph_network(*network_at(Path(choice), GRAPH_RUN, expected=expected, fix="--network auto, or none"))
