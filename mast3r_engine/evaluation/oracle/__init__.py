"""The synthetic oracle: posed views of a furnished room with exact geometry and realistic errors.

`OracleNetwork(make_scene(10))` stands in for a network; `grey_image(k, H, W)` is the photograph of view k.
"""

from mast3r_engine.evaluation.oracle.direct import complete_graph, oracle_canonicals, oracle_edges, oracle_matches, wrong_matches
from mast3r_engine.evaluation.oracle.network import OracleNetwork, grey_image
from mast3r_engine.evaluation.oracle.noise import OracleNoise
from mast3r_engine.evaluation.oracle.painted import painted_photo
from mast3r_engine.evaluation.oracle.prediction import OraclePrediction, predict
from mast3r_engine.evaluation.oracle.room import Room, furnished_room
from mast3r_engine.evaluation.oracle.scene import OracleScene, OracleView, look_at, make_scene, render_view

__all__ = [
    "OracleNetwork",
    "OracleNoise",
    "OraclePrediction",
    "OracleScene",
    "OracleView",
    "Room",
    "complete_graph",
    "furnished_room",
    "grey_image",
    "look_at",
    "make_scene",
    "oracle_canonicals",
    "oracle_edges",
    "oracle_matches",
    "painted_photo",
    "predict",
    "render_view",
    "wrong_matches",
]
