"""Which pairs of photographs the network sees together."""

from mast3r_engine.pairs.graph import PairGraph, build_pairs
from mast3r_engine.pairs.scene_graph import SYNTAX, SceneGraph, parse_scene_graph

__all__ = ["SYNTAX", "PairGraph", "SceneGraph", "build_pairs", "parse_scene_graph"]
