"""Pair graphs against the published worked examples, an enumeration written from the definitions, and bad input."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mast3r_engine.errors import OptionsError
from mast3r_engine.pairs import SceneGraph, build_pairs, parse_scene_graph


def spelled(text: str) -> tuple[tuple[int, int], ...]:
    return tuple((int(word[0]), int(word[1])) for word in text.split())


@pytest.mark.parametrize(
    ("count", "graph", "pairs"),
    [
        (4, "complete", "01 02 03 12 13 23"),
        (5, "swin-2-noncyclic", "01 02 12 13 23 24 34"),
        (5, "swin-2", "01 02 03 04 12 13 14 23 24 34"),
        (6, "logwin-2-noncyclic", "01 02 12 13 23 24 34 35 45"),
        (6, "logwin-2", "01 02 04 05 12 13 15 23 24 34 35 45"),
        (3, "swin-3", "01 02 12"),
        (3, "swin", "01 02 12"),
        (4, "oneref-2", "02 12 23"),
        (4, "oneref", "01 02 03"),
        (5, "swin-noncyclic", "01 02 03 12 13 14 23 24 34"),
        (2, "swin-1", "01"),
        (2, "logwin-9", "01"),
        (1, "complete", ""),
        (1, "swin-3", ""),
        (1, "logwin-3", ""),
        (1, "oneref", ""),
        (0, "complete", ""),
        (0, "swin-2", ""),
        (0, "auto", ""),
    ],
)
def test_published_examples(count: int, graph: str, pairs: str) -> None:
    assert build_pairs(graph, count).pairs == spelled(pairs)


def published_window(kind: str, window: int, cyclic: bool, count: int) -> set[tuple[int, int]]:
    """The definition, literally, without self pairs."""
    offsets = range(1, window + 1) if kind == "swin" else [2**t for t in range(window)]
    found = set()
    for i in range(count):
        for offset in offsets:
            for k in [i + offset] if kind == "swin" else [i - offset, i + offset]:
                j = k % count if cyclic else k
                if 0 <= j < count and i != j:
                    found.add((min(i, j), max(i, j)))
    return found


@given(
    kind=st.sampled_from(["swin", "logwin"]),
    window=st.integers(1, 6),
    cyclic=st.booleans(),
    count=st.integers(1, 40),
)
def test_windows_equal_the_definition(kind: str, window: int, cyclic: bool, count: int) -> None:
    if kind == "logwin" and 2 ** (window - 1) >= count:
        return  # clamped there, see the next test
    text = f"{kind}-{window}" + ("" if cyclic else "-noncyclic")
    graph = build_pairs(text, count)
    assert set(graph.pairs) == published_window(kind, window, cyclic, count)
    assert list(graph.pairs) == sorted(set(graph.pairs))
    assert all(i < j for i, j in graph.pairs)


@pytest.mark.parametrize("kind", ["swin", "logwin"])
@pytest.mark.parametrize("cyclic", ["", "-noncyclic"])
@pytest.mark.parametrize("count", [2, 11, 16])
def test_a_window_larger_than_the_set_is_clamped(kind: str, cyclic: str, count: int) -> None:
    largest = count - 1 if kind == "swin" else (count - 1).bit_length()
    assert build_pairs(f"{kind}-999999999{cyclic}", count).pairs == build_pairs(f"{kind}-{largest}{cyclic}", count).pairs


def test_auto_pairs_all_images_of_a_small_set_and_says_so() -> None:
    graph = build_pairs("auto", 14)
    assert len(graph.pairs) == 14 * 13 // 2
    assert graph.choice.startswith("complete: 91 pairs of 14 images (auto: ")


@pytest.mark.parametrize("count", [15, 16, 17, 100, 1000])
def test_auto_of_a_large_set_stays_connected_and_near_n_log_n(count: int) -> None:
    graph = build_pairs("auto", count)
    assert graph.choice.startswith(f"logwin-{(count - 1).bit_length()}-noncyclic: {len(graph.pairs)} pairs")
    assert {(i, i + 1) for i in range(count - 1)} <= set(graph.pairs)
    assert len(graph.pairs) <= count * count.bit_length()
    assert max(j - i for i, j in graph.pairs) * 2 >= count - 1


def test_a_users_list_replaces_the_graph_and_merges_reversed_duplicates() -> None:
    graph = build_pairs("no graph at all", 5, pairs=[(3, 1), [1, 3], (0, 4), (1, 3)])
    assert graph.pairs == ((0, 4), (1, 3))
    assert graph.choice == "the caller's list: 2 pairs"


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([(0, 5)], "pairs holds [0, 5]; indices must be 0 to 4 for 5 images"),
        ([(-1, 2)], "pairs holds [-1, 2]; indices must be 0 to 4 for 5 images"),
        ([(2, 2)], "pairs holds [2, 2]; an image cannot be paired with itself"),
        ([(0, 1, 2)], "pairs holds (0, 1, 2); each entry must be two image indices [i, j]"),
        ([(0, True)], "pairs holds (0, True); each entry must be two image indices [i, j]"),
        ([(0, 1.0)], "pairs holds (0, 1.0); each entry must be two image indices [i, j]"),
        ([], "pairs is empty"),
    ],
)
def test_a_bad_list_is_refused(pairs: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(OptionsError) as refusal:
        build_pairs("auto", 5, pairs=pairs)
    assert str(refusal.value).startswith(message)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Complete",
        "swin-",
        "swin--1",
        "swin-x",
        "swin-2-cyclic",
        "logwin-1.5",
        "oneref--1",
        "retrieval-20-1-10-1",
        "complete-2",
        "swin-٣",
    ],
)
def test_an_unknown_graph_lists_the_syntax(text: str) -> None:
    with pytest.raises(OptionsError, match=r"swin\[-W\]\[-noncyclic\]") as refusal:
        parse_scene_graph(text)
    assert repr(text) in str(refusal.value)


def test_a_window_of_zero_is_refused() -> None:
    with pytest.raises(OptionsError, match="window must be 1 or more"):
        build_pairs("swin-0", 4)


def test_a_reference_out_of_range_is_refused() -> None:
    with pytest.raises(OptionsError, match="the reference must be 0 to 3 for 4 images"):
        build_pairs("oneref-4", 4)


@pytest.mark.parametrize("text", ["auto", "complete", "swin-4", "logwin-2-noncyclic", "oneref-7"])
def test_a_graph_prints_as_it_was_written(text: str) -> None:
    assert str(parse_scene_graph(text)) == text
    assert str(SceneGraph("swin")) == "swin-3"
