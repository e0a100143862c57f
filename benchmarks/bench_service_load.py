"""What the service bears beside single polls: many jobs queued at once, many slow uploads at once, memory after many jobs.

    python -m benchmarks.bench_service_load                    200 jobs, 24 uploads, 1,000 jobs; a minute and a half
    python -m benchmarks.bench_service_load --jobs 50 --memory-jobs 200

The engine is the tests' fake, which reads the photographs and writes small files at once: the service is measured. All over
`m3r serve` with processes of its own. Memory is resident memory of the API and of the workers with their children; an engine that
leaks 256 KiB a job is measured beside it and must be seen.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from benchmarks.bench_api_load import Service, make_photo, served

FAKE = "tests.services.fake_engine:load"
LEAKING = "tests.services.leaking_engine:load"
SUBMITTERS = 4
ENDED_WITHIN_S = 600.0
POLL_EVERY_S = 0.05
MOST_KIB_A_JOB = 24.0  # growth that still counts as flat; the control leaks ten times as much
PHOTOS = [("images", (f"{shade}.jpg", make_photo(shade))) for shade in (60, 160)]


@dataclass(frozen=True)
class Queued:
    """Jobs that were submitted at once."""

    jobs: int
    submit_s: float
    all_s: float
    wrong: list[str]  # what is not as it should be, by job


@dataclass(frozen=True)
class Uploads:
    """Slow uploads at once, and status polls meanwhile."""

    clients: int
    seconds: float
    refused: int
    alone_ms: list[float]  # polls before
    meanwhile_ms: list[float]


@dataclass(frozen=True)
class Growth:
    """Memory over jobs: MiB at the first and last sample, and the slope of the line through the later two thirds."""

    part: str
    first_mib: float
    last_mib: float
    kib_a_job: float

    @property
    def flat(self) -> bool:
        """Whether it does not grow."""
        return self.kib_a_job < MOST_KIB_A_JOB


def main() -> None:
    """Measure all three and print the tables."""
    wanted = _arguments()
    with service(FAKE) as running:
        queued = queue_jobs(running, wanted.jobs)
        uploads = upload_slowly(running, wanted.clients, wanted.upload_s)
        sound = grow(running, wanted.memory_jobs)
    with service(LEAKING) as running:
        leaking = grow(running, wanted.control_jobs)
    print_tables(queued, uploads, sound, wanted.memory_jobs, leaking, wanted.control_jobs)


@contextlib.contextmanager
def service(engine: str, workers: int = 2) -> Iterator[Service]:
    """Run a service with workers of this engine whose processes live as long as the run, so that a leak is not hidden."""
    settings = {
        "M3R_ENGINE": engine,
        "M3R_LOCALISATION_ENGINE": "benchmarks.trivial_localisation:load",
        "M3R_MAX_JOBS_PER_CHILD": "1000000",
        "M3R_MIN_FREE_DISK_BYTES": "0",
        "OMP_NUM_THREADS": "1",
    }
    with (
        tempfile.TemporaryDirectory(prefix="m3r-bench-") as name,
        served(Path(name), log_level="WARNING", workers=workers, settings=settings) as running,
    ):
        _finish(running, _submit(running, 4 * workers))  # everybody has loaded what it needs
        yield running


def queue_jobs(running: Service, count: int) -> Queued:
    """Submit so many jobs at once and wait for all; every job must be right."""
    began = time.monotonic()
    ids = _submit(running, count)
    submitted = time.monotonic()
    wrong = _finish(running, ids)
    return Queued(count, submitted - began, time.monotonic() - began, wrong)


def upload_slowly(running: Service, clients: int, seconds: float) -> Uploads:
    """Upload from so many clients, each over so long, while one other polls a job."""
    (job,) = _submit(running, 1)
    _finish(running, [job])
    alone = _poll_until(running, job, time.monotonic() + min(seconds, 3.0))
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        uploads = [pool.submit(_upload, running, client, seconds) for client in range(clients)]
        meanwhile = _poll_until(running, job, began + seconds * 0.9)
        answers = [upload.result() for upload in uploads]
    took = time.monotonic() - began
    wrong = _finish(running, [str(answer.json()["id"]) for answer in answers if answer.status_code == 202])
    refused = sum(answer.status_code != 202 for answer in answers) + len(wrong)
    return Uploads(clients, took, refused, alone, meanwhile)


def grow(running: Service, count: int, samples: int = 24) -> list[Growth]:
    """Do so many jobs and see whether memory grows with them."""
    done, seen = [0], [_resident_mib(running)]
    for number in range(samples):
        size = (number + 1) * count // samples - number * count // samples
        wrong = _finish(running, _submit(running, size))
        assert not wrong, wrong
        done.append(done[-1] + size)
        seen.append(_resident_mib(running))
    return [_growth(part, done, [each[part] for each in seen]) for part in seen[0]]


def print_tables(
    queued: Queued, uploads: Uploads, sound: Sequence[Growth], jobs: int, leaking: Sequence[Growth], control_jobs: int
) -> None:
    """Print what was measured."""
    print(f"\n{os.cpu_count()} cores, two workers, fake engine")
    print("\n| jobs at once | submitted in s | all ended in s | jobs/s | not as they should be |\n|---:|---:|---:|---:|---:|")
    rate = queued.jobs / queued.all_s
    print(f"| {queued.jobs} | {queued.submit_s:.1f} | {queued.all_s:.1f} | {rate:.1f} | {len(queued.wrong)} |")
    print("\n| slow uploads at once | s each | refused or wrong | poll alone p50 / p99 ms | poll meanwhile p50 / p99 ms |")
    print("|---:|---:|---:|---:|---:|")
    shown = " | ".join(
        f"{_quantile(each, 0.5):.1f} / {_quantile(each, 0.99):.1f}" for each in (uploads.alone_ms, uploads.meanwhile_ms)
    )
    print(f"| {uploads.clients} | {uploads.seconds:.1f} | {uploads.refused} | {shown} |")
    print(
        "\n| engine | jobs | process | resident at first, MiB | at last | KiB a job | flat |\n|---|---:|---|---:|---:|---:|---|"
    )
    for name, count, rows in (("sound", jobs, sound), ("leaks 256 KiB a job", control_jobs, leaking)):
        for row in rows:
            cells = f"{row.first_mib:.1f} | {row.last_mib:.1f} | {row.kib_a_job:.1f} | {'yes' if row.flat else 'NO'}"
            print(f"| {name} | {count} | {row.part} | {cells} |")


def _submit(running: Service, count: int) -> list[str]:
    with httpx.Client(base_url=running.url, timeout=120) as http, concurrent.futures.ThreadPoolExecutor(SUBMITTERS) as pool:

        def one(_: int) -> str:
            return str(http.post("/v1/reconstructions", files=PHOTOS).raise_for_status().json()["id"])

        return list(pool.map(one, range(count)))


def _finish(running: Service, ids: Sequence[str]) -> list[str]:
    """Wait for the end of jobs; gives what is wrong with them."""
    wrong, until = [], time.monotonic() + ENDED_WITHIN_S
    with httpx.Client(base_url=running.url, timeout=120) as http:
        for job_id in ids:
            job = http.get(f"/v1/jobs/{job_id}").json()
            while not job["terminal"] and time.monotonic() < until:
                job = http.get(f"/v1/jobs/{job_id}", params={"wait": 30}).json()
            outcomes = [attempt["outcome"] for attempt in job["attempts"]]
            files = {file["name"] for file in http.get(f"/v1/jobs/{job_id}/artifacts").json()}
            if (job["status"], outcomes, files) != ("succeeded", ["succeeded"], {"scene.ply", "poses.json", "preview.png"}):
                wrong.append(f"{job_id}: {job['status']}, attempts {outcomes}, files {sorted(files)}")
    return wrong


def _upload(running: Service, client: int, seconds: float) -> httpx.Response:
    data = make_photo(40 + client)
    pieces = 40

    def body() -> Iterator[bytes]:
        for name in ("a", "b"):
            yield f'--b\r\nContent-Disposition: form-data; name="images"; filename="{name}.jpg"\r\n\r\n'.encode()
            step = -(-len(data) // pieces)
            for at in range(0, len(data), step):
                yield data[at : at + step]
                time.sleep(seconds / pieces / 2)
            yield b"\r\n"
        yield b"--b--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    return httpx.post(f"{running.url}/v1/reconstructions", content=body(), headers=headers, timeout=120)


def _poll_until(running: Service, job: str, until: float) -> list[float]:
    """Poll at fixed times, each from a thread of its own; latency counts from the time at which a poll was due."""
    latencies: list[float] = []
    lock = threading.Lock()
    with httpx.Client(base_url=running.url, timeout=120) as http, concurrent.futures.ThreadPoolExecutor(8) as pool:
        http.get(f"/v1/jobs/{job}").raise_for_status()

        def poll(due: float) -> None:
            http.get(f"/v1/jobs/{job}").raise_for_status()
            with lock:
                latencies.append(1e3 * (time.monotonic() - due))

        due, polls = time.monotonic(), []
        while due < until:
            time.sleep(max(0.0, due - time.monotonic()))
            polls.append(pool.submit(poll, due))
            due += POLL_EVERY_S
        for each in polls:
            each.result()
    return latencies


def _resident_mib(running: Service) -> dict[str, float]:
    """Resident memory of the API and of the workers, each with its children; the localisation worker has no part in jobs."""
    assert running.api is not None
    found = {"API": running.api.memory_info().rss / 2**20, "workers": 0.0}
    for child in running.api.children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.cmdline()[-1:] == ["worker"]:
                found["workers"] += sum(each.memory_info().rss for each in (child, *child.children(recursive=True))) / 2**20
    return found


def _growth(part: str, done: Sequence[int], mib: Sequence[float]) -> Growth:
    start = len(done) // 3  # before, caches fill
    slope, _ = statistics.linear_regression(done[start:], mib[start:])
    return Growth(part, mib[0], mib[-1], 1024 * slope)


def _quantile(values: Sequence[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=200, help="queued at once")
    parser.add_argument("--clients", type=int, default=24, help="that upload at once")
    parser.add_argument("--upload-s", type=float, default=8.0, help="an upload takes so long")
    parser.add_argument("--memory-jobs", type=int, default=1000)
    parser.add_argument("--control-jobs", type=int, default=200, help="with the engine that leaks")
    return parser.parse_args()


if __name__ == "__main__":
    main()
