"""Checkpoints: reading, checking, describing and writing the network's weights."""

from mast3r_engine.checkpoints.default import load_default_network
from mast3r_engine.checkpoints.description import CheckpointDescription, describe_checkpoint
from mast3r_engine.checkpoints.loading import load_network
from mast3r_engine.checkpoints.saving import save_network

__all__ = [
    "CheckpointDescription",
    "describe_checkpoint",
    "load_default_network",
    "load_network",
    "save_network",
]
