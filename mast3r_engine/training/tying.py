"""Sharing decoder and descriptor branch between the two views while matching alone is trained.

Matching treats both views alike, so one set of weights sees twice the samples; the state dict keeps all its keys.
"""

from __future__ import annotations

import copy

from mast3r_engine.network import Network
from mast3r_engine.network.heads import CatMlpDptHead


def tie_views(net: Network) -> None:
    """Make the second view's decoder and descriptor branch the first view's."""
    net.dec_blocks2 = net.dec_blocks
    if isinstance(net.downstream_head1, CatMlpDptHead) and isinstance(net.downstream_head2, CatMlpDptHead):
        net.downstream_head2.head_local_features = net.downstream_head1.head_local_features


def untie_views(net: Network) -> None:
    """Give the second view its own copies again; nothing happens if it has them."""
    if net.dec_blocks2 is net.dec_blocks:
        net.dec_blocks2 = copy.deepcopy(net.dec_blocks)
    first, second = net.downstream_head1, net.downstream_head2
    if not (isinstance(first, CatMlpDptHead) and isinstance(second, CatMlpDptHead)):
        return
    if second.head_local_features is first.head_local_features:
        second.head_local_features = copy.deepcopy(first.head_local_features)
