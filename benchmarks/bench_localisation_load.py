"""Queries at several offered rates: p50, p95, p99 and how many are refused, over a whole service with its own processes.

    python -m benchmarks.bench_localisation_load                          the service's own time: an engine that computes nothing
    python -m benchmarks.bench_localisation_load --engine mast3r --rates 0.5 1 2   the packaged network
    python -m benchmarks.bench_localisation_load --url http://…           a service that runs (with --key)

Each query is a 640 x 480 JPEG against one kept reference. Latency is the client's, from when the request should have left. With
the trivial engine it is all overhead: HTTP, queue, decoding, answer. Goal on 2 quiet cores: p50 <= 15 ms and p99 <= 40 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx
from PIL import Image

from benchmarks.open_loop import Answer, OpenLoop
from m3r.progress_bar import StageBar

ROOT = Path(__file__).resolve().parents[1]
PHOTO = ROOT / "examples" / "desk" / "1341847982.730674.jpg"
REFERENCE = ROOT / "examples" / "desk" / "1341847983.738736.jpg"
SIZE = (640, 480)
ENGINES = {
    "trivial": "benchmarks.trivial_localisation:load",
    "mast3r": "services.worker.localisation_engine:load_localisation_engine",
}
GOAL_MS = (15.0, 40.0)  # p50, p99
WARM_UP_S = 2.0
START_WITHIN_S = 180.0


def main() -> None:
    """Measure every rate and print the table."""
    wanted = _arguments()
    with contextlib.ExitStack() as stack:
        url = wanted.url or stack.enter_context(served(wanted.engine))
        rows = asyncio.run(measure(url, wanted.key, wanted.rates, wanted.seconds, wanted.deadline_ms))
    print_table(rows, wanted.engine if wanted.url is None else wanted.url, wanted.seconds)


async def measure(
    url: str, key: str | None, rates: Sequence[float], seconds: float, deadline_ms: int
) -> list[tuple[float, list[Answer]]]:
    """Offer each rate in turn."""
    headers = {"Content-Type": "image/jpeg", **({"Authorization": f"Bearer {key}"} if key else {})}
    keeping = httpx.post(f"{url}/v1/references", content=jpeg(REFERENCE), headers=headers, timeout=60)
    keeping.raise_for_status()
    path = f"/v1/localize?reference_ids={keeping.json()['id']}&deadline_ms={deadline_ms}"
    load = OpenLoop(url, path, headers, jpeg(PHOTO))
    rows: list[tuple[float, list[Answer]]] = []
    with StageBar("load") as bar:
        bar.show("warm-up", 0.0)
        await load.run(min(rates), max(WARM_UP_S, 3 / min(rates)))
        for number, rate in enumerate(rates):
            bar.show(f"{rate:g}/s", number / len(rates))
            rows.append((rate, await load.run(rate, seconds, seed=number)))
    await load.close()
    httpx.delete(f"{url}/v1/references/{keeping.json()['id']}", headers=headers, timeout=60)
    return rows


def print_table(rows: Sequence[tuple[float, list[Answer]]], what: str, seconds: float) -> None:
    """Print a row per rate; milliseconds, of the queries that were answered with 200."""
    photo = f"{SIZE[0]} x {SIZE[1]} JPEG of {len(jpeg(PHOTO)) // 1000} kB"
    print(f"\nengine {what}, {os.cpu_count()} cores, {photo}, {seconds:g} s a rate")
    print(f"{'offered/s':>9} {'sent':>6} {'p50':>8} {'p95':>8} {'p99':>8} {'max':>8} {'503':>7} {'other':>6}", end="")
    print(f"   medians: {'queue':>7} {'decode':>7} {'infer':>7} {'but infer, p50 / p99':>22}")
    for rate, answers in rows:
        good = [answer for answer in answers if answer.status == 200]
        busy = sum(answer.status == 503 for answer in answers) / len(answers)
        other = sum(answer.status not in (200, 503) for answer in answers)
        latencies = [answer.latency_ms for answer in good] or [float("nan")]
        shown = " ".join(f"{_quantile(latencies, q):8.1f}" for q in (0.5, 0.95, 0.99, 1.0))
        parts = " ".join(
            f"{statistics.median([answer.timing_ms[name] for answer in good] or [float('nan')]):7.1f}"
            for name in ("queue", "decode", "infer")
        )
        overhead = [answer.latency_ms - answer.timing_ms["infer"] for answer in good] or [float("nan")]
        ours = f"{_quantile(overhead, 0.5):.1f} / {_quantile(overhead, 0.99):.1f}"
        print(f"{rate:9g} {len(answers):6d} {shown} {busy:6.1%} {other:6d}            {parts} {ours:>22}")
    print(f"goal for everything but the engine on 2 quiet cores: p50 <= {GOAL_MS[0]:g} ms, p99 <= {GOAL_MS[1]:g} ms")


@contextlib.contextmanager
def served(engine: str) -> Iterator[str]:
    """Run `m3r serve` with this engine until its localisation worker takes queries; gives the URL."""
    with tempfile.TemporaryDirectory(prefix="m3r-bench-") as name:
        folder = Path(name)
        ready, log = folder / "url", folder / "log"
        environment = {key: value for key, value in os.environ.items() if not key.startswith("M3R_")}
        environment |= {"M3R_LOCALISATION_ENGINE": ENGINES[engine], "M3R_LOG_LEVEL": "WARNING"}
        environment["M3R_ENGINE"] = "benchmarks.no_engine:load"  # nothing is reconstructed, no second copy of the weights
        command = [
            sys.executable,
            "-m",
            "m3r",
            "serve",
            "--port",
            "0",
            "--data",
            str(folder / "data"),
            "--ready-file",
            str(ready),
        ]
        with log.open("wb") as sink:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=sink, stderr=sink)
        try:
            _wait(ready.exists, process, log)
            url = ready.read_text()
            _wait(lambda: "1 with" in _localisation_workers(url), process, log)
            yield url
        finally:
            process.terminate()
            process.wait(60)


def jpeg(path: Path) -> bytes:
    """A photograph at 640 x 480."""
    target = io.BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").resize(SIZE, Image.Resampling.LANCZOS).save(target, "JPEG", quality=90)
    return target.getvalue()


def _localisation_workers(url: str) -> str:
    return str(httpx.get(f"{url}/healthz/ready", timeout=30).json().get("checks", {}).get("localisation_workers", ""))


def _wait(condition: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_WITHIN_S
    while not condition():
        if process.poll() is not None or time.monotonic() > until:
            raise SystemExit(f"the service did not start:\n{log.read_text()[-3000:]}")
        time.sleep(0.1)


def _quantile(values: Sequence[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=float, nargs="+", default=[5.0, 10.0, 20.0, 40.0, 80.0], help="queries a second")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each rate")
    parser.add_argument("--engine", choices=sorted(ENGINES), default="trivial")
    parser.add_argument("--deadline-ms", type=int, default=2_000)
    parser.add_argument("--url", help="of a service that runs; none is started")
    parser.add_argument("--key", help="its API key")
    return parser.parse_args()


if __name__ == "__main__":
    main()
