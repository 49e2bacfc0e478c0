"""A few scans to train graph networks on, from the positive control's world."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float32, Int64

from scenewise.methods.vl_sat.examples import GraphData, GraphExample
from scenewise.methods.vl_sat.options import OracleSettings, VlSatConfig
from scenewise.scenes.graph_scans import GraphScan
from scenewise.studies.graphs.control import ControlWorld, control_data

WORLD = ControlWorld(scans=6, test=2, things=3, uses=4, classes=3, points=16)
CONFIG = VlSatConfig(
    width=16,
    heads=2,
    points=12,
    steps=6,
    batch_scans=2,
    learning_rate=2e-3,
    graph_rate=1.0,
    head_rate=1.0,
    oracle=OracleSettings(adapter_epochs=2),
)
ALONE = replace(CONFIG, oracle=None)


def tiny_data() -> tuple[GraphData, GraphData]:
    """To learn from, and to measure on; with pictures and the words for classes."""
    return control_data(WORLD, "teaching", 3)


def without_pictures(data: GraphData) -> GraphData:
    return GraphData([GraphExample(each.scan) for each in data.examples], data.classes, data.predicates)


def scan_of_points(places: Float32[np.ndarray, "things 3"], triplets: Int64[np.ndarray, "m 3"], name: str = "scan") -> GraphScan:
    """Things of a single point each, so that every draw of points is known; classes 0, 1, 2 …"""
    return GraphScan(name, tuple(places[:, None]), np.arange(len(places)), triplets)
