"""Seconds per stage and peak memory of whole jobs: 2, 5 and 10 photographs, images to cloud, each in a process of its own.

    python benchmarks/bench_stages.py                       the network that is loaded by default
    python benchmarks/bench_stages.py --network vitl        the published architecture at full size, random weights, 512 pixels

Random weights give meaningless geometry but the same work, except for alignment and fusion; pairs are not verified then.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("load", "encode", "decode", "match", "align", "fuse", "export")
VITL = {
    "img_size": (512, 512),
    "head_type": "catmlp+dpt",
    "output_mode": "pts3d+desc24",
    "two_confs": True,
    "desc_conf_mode": ("exp", 0.0, "inf"),
    "enc_embed_dim": 1024,
    "enc_depth": 24,
    "enc_num_heads": 16,
    "dec_embed_dim": 768,
    "dec_depth": 12,
    "dec_num_heads": 12,
}


def measure(count: int, network: str, dtype: str, photos: list[Path]) -> dict[str, Any]:
    """Run one job in this process and say what it took."""
    from mast3r_engine import Options, reconstruct
    from mast3r_engine.checkpoints import load_default_network
    from mast3r_engine.export import write_artifacts
    from mast3r_engine.network import build_network, set_precision

    if network == "default":
        net = load_default_network(dtype=dtype)
    else:
        net = build_network(VITL)
        set_precision(net, dtype)
    loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    options: dict[str, Any] = {"scene_graph": "complete"}
    if not net.trained:
        options |= {"alignment": {"verify_pairs": False}, "fusion": {"min_confidence": 0}}
    began = time.perf_counter()
    scene = reconstruct(photos[:count], net, Options.from_dict(options))
    exporting = time.perf_counter()
    write_artifacts(scene, Path(os.environ.get("TMPDIR", "/tmp")) / f"m3r-bench-{os.getpid()}")
    ended = time.perf_counter()
    return {
        "photos": count,
        "pairs": count * (count - 1) // 2,
        "size": max(scene.depth[0].shape),
        "seconds": {**scene.stats["seconds"], "export": scene.stats["seconds"]["export"] + ended - exporting},
        "total": ended - began,
        "points": len(scene.points),
        "loaded_bytes": loaded,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "trained": net.trained,
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=ROOT / "examples" / "desk", help="a folder of photographs")
    parser.add_argument("--counts", type=int, nargs="+", default=[2, 5, 10])
    parser.add_argument("--network", choices=["default", "vitl"], default="default")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    photos = sorted(chosen.photos.glob("*.jpg"))
    if chosen.one is not None:
        print(json.dumps(measure(chosen.one, chosen.network, chosen.dtype, photos)))
        return
    print(f"{platform.machine()}, {os.cpu_count()} cores, network {chosen.network}, {chosen.dtype}")
    print("| photos | pairs | px | " + " | ".join(STAGES) + " | total s | peak GB | of it weights and libraries GB |")
    print("| --- " * (len(STAGES) + 6) + "|")
    for count in chosen.counts:
        command = [sys.executable, __file__, "--one", str(count), "--network", chosen.network, "--dtype", chosen.dtype]
        done = subprocess.run([*command, "--photos", str(chosen.photos)], check=True, capture_output=True, text=True)
        row = json.loads(done.stdout.splitlines()[-1])
        seconds = " | ".join(f"{row['seconds'].get(stage, 0):.2f}" for stage in STAGES)
        memory = f"{row['peak_bytes'] / 1e9:.2f} | {row['loaded_bytes'] / 1e9:.2f}"
        print(f"| {count} | {row['pairs']} | {row['size']} | {seconds} | {row['total']:.1f} | {memory} |", flush=True)


if __name__ == "__main__":
    main()
