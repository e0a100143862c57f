"""Which pairs of photographs the network sees together."""

from mast3r_engine.pairs.directions import Directed, plan_directions
from mast3r_engine.pairs.graph import PairGraph, build_pairs
from mast3r_engine.pairs.scene_graph import SYNTAX, SceneGraph, parse_scene_graph

__all__ = ["SYNTAX", "Directed", "PairGraph", "SceneGraph", "build_pairs", "parse_scene_graph", "plan_directions"]
