"""References that outlive the process: bytes and back, damage found, another network's refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from mast3r_engine.errors import ForeignNetworkError, OutOfMemoryError, StoredDataError
from mast3r_engine.evaluation.oracle import OracleNetwork, OracleScene, grey_image, make_scene
from mast3r_engine.localisation import Reference, encode_reference, localize
from mast3r_engine.localisation.fingerprint import network_fingerprint
from mast3r_engine.localisation.stored_tensors import pack
from mast3r_engine.network import build_network
from mast3r_engine.predictions import Encoded, ViewPrediction
from tests.engine.tiny_networks import LINEAR

HEIGHT, WIDTH = 96, 128


@pytest.fixture(scope="module")
def scene() -> OracleScene:
    return make_scene(4, HEIGHT, WIDTH, seed=2, arc_degrees=45)


@pytest.fixture(scope="module")
def reference(scene: OracleScene) -> Reference:
    return encode_reference(grey_image(0, HEIGHT, WIDTH), OracleNetwork(scene), intrinsics=scene.views[0].K)


def test_a_reference_read_back_localises_as_the_one_that_was_stored(scene: OracleScene, reference: Reference) -> None:
    restored = Reference.from_bytes(reference.to_bytes())
    answers = [localize(grey_image(1, HEIGHT, WIDTH), r, OracleNetwork(scene)) for r in (reference, restored)]
    np.testing.assert_array_equal(answers[0].query2reference, answers[1].query2reference)
    assert answers[1].references[0].intrinsics.source == "given"
    assert (restored.name, restored.geometry, restored.fingerprint) == (
        reference.name,
        reference.geometry,
        reference.fingerprint,
    )
    assert restored.nbytes == reference.nbytes / 2  # bfloat16


@pytest.mark.parametrize("cut", [0, 4, 100, -1])
def test_bytes_that_are_cut_off_are_named(reference: Reference, cut: int) -> None:
    with pytest.raises(StoredDataError):
        Reference.from_bytes(reference.to_bytes()[:cut])


def test_one_flipped_bit_anywhere_is_found(reference: Reference) -> None:
    data = reference.to_bytes()
    rng = np.random.default_rng(0)
    for place in [*rng.integers(0, len(data), 150), len(data) - 1, 0, 7, 8]:
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(rng.integers(8))
        try:
            same = Reference.from_bytes(bytes(damaged))
        except StoredDataError:
            continue
        assert same == replace(reference, encoded=same.encoded, camera=same.camera)  # padding of the file, at most
        assert torch.equal(same.encoded.tokens.float(), reference.encoded.tokens)


@pytest.mark.parametrize("change", [{"geometry": {"width": 3}}, {"height": None}, {"K": [[1]]}])
def test_a_header_that_means_nothing_is_named(reference: Reference, change: dict[str, object]) -> None:
    data = reference.to_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["header"])
    header.update(change)
    forged = pack("m3r.reference", 1, header, {"tokens": torch.zeros(1, 4, 8)})
    with pytest.raises(StoredDataError, match="damaged"):
        Reference.from_bytes(forged)


def test_another_kind_and_another_version_are_named() -> None:
    with pytest.raises(StoredDataError, match=r"'m3r\.map'"):
        Reference.from_bytes(pack("m3r.map", 1, {}, {"a": torch.zeros(1)}))
    with pytest.raises(StoredDataError, match="version 9"):
        Reference.from_bytes(pack("m3r.reference", 9, {}, {"a": torch.zeros(1)}))


def test_references_of_another_network_are_refused(scene: OracleScene, reference: Reference) -> None:
    foreign = replace(reference, fingerprint="0123456789abcdef")
    with pytest.raises(ForeignNetworkError, match="0123456789abcdef"):
        localize(grey_image(1, HEIGHT, WIDTH), foreign, OracleNetwork(scene))


def test_the_fingerprint_is_of_the_weights() -> None:
    first, same, other = (build_network(LINEAR) for _ in range(3))
    same.load_state_dict(first.state_dict())
    with torch.no_grad():
        other.load_state_dict(first.state_dict())
        other.dec_norm.weight += 0.1
    assert network_fingerprint(first) == network_fingerprint(same) != network_fingerprint(other)
    assert network_fingerprint(same.to(torch.bfloat16)) == network_fingerprint(first)


def test_many_references_are_never_all_decoded_at_once(scene: OracleScene, monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for one pair per batch, six references are decoded in six calls, each matched before the next."""
    monkeypatch.setattr("mast3r_engine.inference.CPU_BATCH", 4 * HEIGHT * WIDTH)
    network = SizesOfCalls(scene)
    answer = localize(grey_image(3, HEIGHT, WIDTH), [grey_image(k % 3, HEIGHT, WIDTH) for k in range(6)], network)
    assert network.sizes == [2] * 6
    assert [r.inliers for r in answer.references[:3]] == [r.inliers for r in answer.references[3:6]]


def test_memory_that_does_not_suffice_has_a_name(scene: OracleScene) -> None:
    class Full(OracleNetwork):
        def decode(self, a: Encoded, b: Encoded) -> tuple[ViewPrediction, ViewPrediction]:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(OutOfMemoryError, match="fewer references"):
        localize(grey_image(1, HEIGHT, WIDTH), grey_image(0, HEIGHT, WIDTH), Full(scene))


class SizesOfCalls(OracleNetwork):
    def __init__(self, scene: OracleScene) -> None:
        super().__init__(scene)
        self.sizes: list[int] = []

    def decode(self, a: Encoded, b: Encoded) -> tuple[ViewPrediction, ViewPrediction]:
        self.sizes.append(len(a.tokens))
        return super().decode(a, b)
