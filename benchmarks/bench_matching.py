"""One fast reciprocal search (grid step 8, 24 components): the op's implementations against a plain blockwise torch search.

Every contender runs in turn, round after round, so that a busy machine slows all alike; a row gives medians over the rounds and
the ratio to the plain search of the same round. CPU seconds are those of all threads. Peak memory is measured in a process of
its own. `differ` counts matches that are not the reference's: the plain search compares float32 products, whose near ties fall
either way.

    python benchmarks/bench_matching.py [--size 512x384] [--threads 2] [--rounds 3] [--only smooth]
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from mast3r_kernels.reciprocal_match import ReciprocalSearch
from mast3r_kernels.reciprocal_match.compiled import usable_paths

COMPONENTS = 24
SUBSAMPLE = 8
PLAIN = "plain torch"

# Descriptor fields: size of the largest structure in pixels (0: no structure), noise per descriptor before normalising.
FIELDS = {
    "random": (0, 0.0),
    "smooth, 16 px, noise 0.3": (16, 0.3),
    "smooth, 64 px, noise 0.7": (64, 0.7),
    "smooth, 64 px, noise 0.3": (64, 0.3),
    "smooth, 64 px, no noise": (64, 0.0),
}
SHIFT = (5, 11)  # pixels (y, x) by which the second image sees the same field displaced


def main() -> None:
    """Print one table per size and field."""
    options = _options()
    if options.memory_of:
        return _print_memory(options)
    torch.set_num_threads(options.threads)
    for size in options.size:
        for field in FIELDS:
            if options.only in field:
                _print_table(field, size, options.threads, options.rounds)
    return None


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", action="append", help="width x height; may be given several times")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="fields whose name holds this")
    parser.add_argument("--memory-of", nargs=2, metavar=("CONTENDER", "FIELD"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.size = options.size or ["256x192", "512x384"]
    return options


# --- contenders: (a (H, W, D), b (H, W, D), threads) -> set of matches


Contender = Callable[[Tensor, Tensor, int], set[tuple[int, int]]]


def contenders() -> dict[str, Contender]:
    """The plain search first, then the reference, then the compiled paths."""
    found: dict[str, Contender] = {PLAIN: _plain}
    for name in ("reference", *usable_paths()[::-1]):
        found[name] = _implementation(name)
    return found


def _implementation(name: str) -> Contender:
    def run(a: Tensor, b: Tensor, threads: int) -> set[tuple[int, int]]:
        search = ReciprocalSearch(a.flatten(0, 1), b.flatten(0, 1), a.shape[1], b.shape[1], implementation=name, threads=threads)
        idx_a, idx_b = search.walk(_grid(a))
        return set(zip(idx_a.tolist(), idx_b.tolist(), strict=True))

    return run


def _plain(a: Tensor, b: Tensor, _threads: int) -> set[tuple[int, int]]:
    """The published walk, each step a search by tiles of 8192 x 8192 similarities; only the direction that is needed."""
    rows_a, rows_b = a.flatten(0, 1), b.flatten(0, 1)
    at = _grid(a)
    previous = torch.full_like(at, -1)
    matches: set[tuple[int, int]] = set()
    for _ in range(10):
        if not len(at):
            break
        there = _plain_nearest(rows_a[at], rows_b)
        ended = there == previous
        matches |= set(zip(at[ended].tolist(), there[ended].tolist(), strict=True))
        at, there = at[~ended], there[~ended]
        back = _plain_nearest(rows_b[there], rows_a)
        ended = back == at
        matches |= set(zip(at[ended].tolist(), there[ended].tolist(), strict=True))
        at, previous = back[~ended], there[~ended]
    return matches


def _plain_nearest(
    queries: Tensor,  # (n, D)
    database: Tensor,  # (M, D)
) -> Tensor:  # (n,)
    best = torch.full((len(queries),), -torch.inf)
    index = torch.zeros(len(queries), dtype=torch.int64)
    for k in range(0, len(database), 8192):
        top, where = (queries @ database[k : k + 8192].T).max(dim=1)
        better = top > best
        best[better], index[better] = top[better], where[better] + k
    return index


def _grid(image: Tensor) -> Tensor:
    H, W = image.shape[:2]
    y, x = torch.arange(SUBSAMPLE // 2, H, SUBSAMPLE), torch.arange(SUBSAMPLE // 2, W, SUBSAMPLE)
    return (y[:, None] * W + x[None, :]).flatten()


# --- descriptor fields


def make_pair(field: str, size: str) -> tuple[Tensor, Tensor]:  # (H, W, D) each, unit length
    """Two views of one field, displaced by SHIFT, each with noise of its own; two unrelated ones when it has no structure."""
    structure, noise = FIELDS[field]
    W, H = (int(side) for side in size.split("x"))
    if not structure:
        return _unit(_noise(H, W, 1)), _unit(_noise(H, W, 2))
    whole = _unit(_octaves(H + SHIFT[0], W + SHIFT[1], structure))
    views = whole[:H, :W], whole[SHIFT[0] :, SHIFT[1] :]
    first, second = (_unit(view + noise * _noise(H, W, 3 + k) / COMPONENTS**0.5) for k, view in enumerate(views))
    return first, second


def _octaves(H: int, W: int, structure: int) -> Tensor:  # (H, W, D)
    """Smooth random fields of sizes structure, structure/2, … 2 pixels, the smaller the weaker."""
    field, weight = torch.zeros(1, COMPONENTS, H, W), 1.0
    while structure >= 2:
        shape = (H // structure + 2, W // structure + 2)
        coarse = torch.randn(1, COMPONENTS, *shape, generator=torch.Generator().manual_seed(structure))
        fine = torch.nn.functional.interpolate(coarse, size=(shape[0] * structure, shape[1] * structure), mode="bicubic")
        field += weight * fine[:, :, :H, :W]
        structure, weight = structure // 2, weight * 0.6
    return field[0].permute(1, 2, 0).contiguous()


def _noise(H: int, W: int, seed: int) -> Tensor:
    return torch.randn(H, W, COMPONENTS, generator=torch.Generator().manual_seed(seed))


def _unit(field: Tensor) -> Tensor:
    return torch.nn.functional.normalize(field, dim=-1)


# --- measuring


def _print_table(field: str, size: str, threads: int, rounds: int) -> None:
    a, b = make_pair(field, size)
    near = (a[:, 1:] * a[:, :-1]).sum(-1).mean(), (a[:, 8:] * a[:, :-8]).sum(-1).mean()
    print(f"\n{size}, {field} (cosine of neighbours 1 px apart {near[0]:.2f}, 8 px {near[1]:.2f}), {threads} threads")
    print(f"{'':14} {'wall s':>8} {'CPU s':>8} {'x wall':>8} {'x CPU':>8} {'peak MiB':>9} {'matches':>8} {'differ':>7}")
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders()}
    found: dict[str, set[tuple[int, int]]] = {}
    for _ in range(rounds):
        for name, run in contenders().items():
            wall, cpu = time.perf_counter(), time.process_time()
            found[name] = run(a, b, threads)
            times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    for name, taken in times.items():
        wall, cpu = (statistics.median(column) for column in zip(*taken, strict=True))
        ratios = [[p / t for p, t in zip(plain, own, strict=True)] for plain, own in zip(times[PLAIN], taken, strict=True)]
        wall_ratio, cpu_ratio = (statistics.median(column) for column in zip(*ratios, strict=True))
        peak, differ = _memory_of(name, field, size, threads), len(found[name] ^ found["reference"])
        print(f"{name:14} {wall:8.3f} {cpu:8.3f} {wall_ratio:8.1f} {cpu_ratio:8.1f} {peak:9.0f} {len(found[name]):8} {differ:7}")


def _memory_of(contender: str, field: str, size: str, threads: int) -> float:
    """MiB that a contender needs above what the process held before; NaN where the system does not say (not Linux)."""
    if not Path("/proc/self/clear_refs").exists():
        return float("nan")
    command = [sys.executable, __file__, "--memory-of", contender, field, "--size", size, "--threads", str(threads)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _print_memory(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    contender, field = options.memory_of
    a, b = make_pair(field, "64x48")
    contenders()[contender](a, b, options.threads)  # libraries loaded, pools warm
    a, b = make_pair(field, options.size[0])
    ctypes.CDLL(None).malloc_trim(0)  # what was freed before must not hide what is needed now
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _status_mib("VmRSS")
    contenders()[contender](a, b, options.threads)
    print(_status_mib("VmHWM") - before)


def _status_mib(entry: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(entry))
    return float(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
