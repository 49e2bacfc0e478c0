"""The network that ``--network`` names."""

from scenewise.errors import DataFormatError
from scenewise.parts.graphs.building import RelationNetwork


def open_network(choice: str) -> RelationNetwork | None:
    """What tells relations that geometry does not, or None.

    Args:
        choice: "auto" for the one that comes with the package, "none", or a folder.

    Raises:
        DataFormatError: the folder holds no such network.
    """
    if choice in ("auto", "none"):
        return None
    raise DataFormatError(choice, expected="a trained network for relations", got="none", fix="--network auto, or none")
