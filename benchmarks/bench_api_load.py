"""Status polls in an open loop: p50, p95, p99 at several rates, and what one poll costs in CPU, over a whole service.

    python -m benchmarks.bench_api_load                             500 and 1,000 polls a second, with a key
    python -m benchmarks.bench_api_load --rates 500 --seconds 30
    python -m benchmarks.bench_api_load --url http://… --key …      a service that runs, with one job of its own

The load comes from benchmarks/open_loop.c, compiled here: a fixed schedule, latency from the moment at which a request should
have left, kept connections. It shares the machine with the service. Goal on 2 quiet cores: p99 <= 20 ms at 500/s.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SOURCE = Path(__file__).with_name("open_loop.c")
JOBS = 20  # polled in turn
CONNECTIONS = 64
GOAL_P99_MS = 20.0
WARM_UP_S = 3.0
START_WITHIN_S = 120.0


@dataclass(frozen=True)
class Service:
    """A service under load."""

    url: str
    key: str | None
    api: psutil.Process | None  # None: it runs elsewhere
    redis: psutil.Process | None


@dataclass(frozen=True)
class Row:
    """What was measured at one rate; milliseconds."""

    rate: float
    load: dict[str, float]
    api_ms: float  # CPU of a poll
    redis_ms: float


def main() -> None:
    """Measure every rate and print the table."""
    wanted = _arguments()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="m3r-bench-")))
        program = compile_load(folder)
        service = (
            Service(wanted.url, wanted.key, None, None)
            if wanted.url
            else stack.enter_context(served(folder, keyed=not wanted.without_key, rate=wanted.limit, log_level=wanted.log_level))
        )
        requests = write_requests(folder, service, submit_jobs(service, JOBS))
        poll(program, service, requests, min(wanted.rates), WARM_UP_S)
        rows = [poll(program, service, requests, rate, wanted.seconds) for rate in wanted.rates]
    print_table(rows, wanted.seconds, service)


def compile_load(folder: Path) -> Path:
    """Compile the load generator."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise SystemExit("no C compiler: install gcc or clang")
    program = folder / "open_loop"
    subprocess.run([compiler, "-O2", "-o", str(program), str(SOURCE)], check=True)
    return program


@contextlib.contextmanager
def served(
    folder: Path,
    keyed: bool = False,
    rate: str | None = None,
    log_level: str = "INFO",
    workers: int = 0,
    settings: dict[str, str] | None = None,
) -> Iterator[Service]:
    """Run `m3r serve` with a directory store and a key of its own; `settings` are more of its environment."""
    data, ready, log = folder / "data", folder / "url", folder / "log"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("M3R_")}
    environment |= {"M3R_STORE": f"dir:{data / 'objects'}", "M3R_LOG_LEVEL": log_level, "M3R_ENGINE": "benchmarks.no_engine:load"}
    environment |= settings or {}
    if rate is not None:
        environment["M3R_RATES"] = json.dumps({"read": rate})
    key = make_key(environment) if keyed else None
    command = [sys.executable, "-m", "m3r", "serve", "--port", "0", "--workers", str(workers), "--data", str(data)]
    with log.open("wb") as sink:
        process = subprocess.Popen([*command, "--ready-file", str(ready)], cwd=ROOT, env=environment, stdout=sink, stderr=sink)
    try:
        until = time.monotonic() + START_WITHIN_S
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"the service did not start:\n{log.read_text()[-3000:]}")
            time.sleep(0.1)
        api = psutil.Process(process.pid)
        redis = next((child for child in api.children() if any("valkey" in part for part in child.cmdline()[:2])), None)
        yield Service(ready.read_text(), key, api, redis)
    finally:
        process.terminate()
        process.wait(60)


def make_key(environment: dict[str, str]) -> str:
    """Make a key for this run as an operator would."""
    command = [sys.executable, "-m", "m3r", "keys", "create"]
    made = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return next(word for word in made.stdout.split() if word.startswith("m3r_"))


def submit_jobs(service: Service, count: int) -> list[str]:
    """Submit jobs of two photographs; gives their ids."""
    photos = [("images", (f"{shade}.jpg", make_photo(shade))) for shade in (60, 160)]
    with httpx.Client(base_url=service.url, headers=_headers(service), timeout=60) as http:
        answers = [http.post("/v1/reconstructions", files=photos).raise_for_status() for _ in range(count)]
    return [str(answer.json()["id"]) for answer in answers]


def write_requests(folder: Path, service: Service, jobs: Sequence[str]) -> Path:
    """Write the polls as they go over the wire."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in _headers(service).items())
    text = "".join(f"GET /v1/jobs/{job} HTTP/1.1\r\nHost: {urlsplit(service.url).netloc}\r\n{lines}\r\n" for job in jobs)
    path = folder / "requests"
    path.touch(0o600)  # the key stands in it
    path.write_bytes(text.encode())
    return path


def poll(program: Path, service: Service, requests: Path, rate: float, seconds: float) -> Row:
    """Offer a rate for so long."""
    place = urlsplit(service.url)
    before = [_cpu_s(service.api), _cpu_s(service.redis)]
    command = [str(program), place.hostname or "", str(place.port), str(rate), str(seconds), str(CONNECTIONS), str(requests)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    api_s, redis_s = (_cpu_s(process) - was for process, was in zip((service.api, service.redis), before))
    load: dict[str, float] = json.loads(done.stdout)
    return Row(rate, load, 1e3 * api_s / load["sent"], 1e3 * redis_s / load["sent"])


def print_table(rows: Sequence[Row], seconds: float, service: Service) -> None:
    """Print a row per rate; every request counts, those that were refused or failed too."""
    key = "with a key" if service.key else "without a key"
    print(f"\nGET /v1/jobs/{{id}}, open loop, {CONNECTIONS} connections, {key}, {os.cpu_count()} cores, {seconds:g} s a rate")
    print("| polls/s | p50 ms | p95 ms | p99 ms | p99.9 ms | max ms | refused | failed | CPU of API, ms/poll | of Redis |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for row in rows:
        shown = " | ".join(f"{row.load[name]:.1f}" for name in ("p50", "p95", "p99", "p999", "max"))
        lost = f"{row.load['refused']:.0f} | {row.load['failed'] + row.load['missing']:.0f}"
        print(f"| {row.rate:g} | {shown} | {lost} | {row.api_ms:.3f} | {row.redis_ms:.3f} |")
    print(f"goal on 2 quiet cores: p99 <= {GOAL_P99_MS:g} ms at 500 polls/s (stretch: at 1,000), none refused, none failed")


def _headers(service: Service) -> dict[str, str]:
    return {"Authorization": f"Bearer {service.key}"} if service.key else {}


def make_photo(shade: int) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (64, 48), (shade, 120, 90)).save(target, "JPEG")
    return target.getvalue()


def _cpu_s(process: psutil.Process | None) -> float:
    if process is None:
        return float("nan")
    times = process.cpu_times()
    return float(times.user + times.system)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=float, nargs="+", default=[500.0, 1000.0], help="polls a second")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each rate")
    parser.add_argument("--without-key", action="store_true", help="a service that has no keys")
    parser.add_argument("--limit", help="a rate limit of the tenant, '100000/minute'; the service then counts every poll")
    parser.add_argument("--log-level", default="INFO", help="INFO, the default, writes a line for each request")
    parser.add_argument("--url", help="of a service that runs; none is started")
    parser.add_argument("--key", help="its API key")
    return parser.parse_args()


if __name__ == "__main__":
    main()
