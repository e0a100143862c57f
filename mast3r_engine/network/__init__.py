"""The network: MASt3R and DUSt3R."""

from mast3r_engine.network.build import build_network, build_on_meta
from mast3r_engine.network.config import NetworkConfig, parse_config
from mast3r_engine.network.cuda_graphs import GraphedNetwork
from mast3r_engine.network.initialise import initialise
from mast3r_engine.network.model import Network, projection_aliases
from mast3r_engine.network.precision import PRECISIONS, set_precision

__all__ = [
    "PRECISIONS",
    "GraphedNetwork",
    "Network",
    "NetworkConfig",
    "build_network",
    "build_on_meta",
    "initialise",
    "parse_config",
    "projection_aliases",
    "set_precision",
]
