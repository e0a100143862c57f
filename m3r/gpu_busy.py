"""How busy a GPU is, as the driver says, sampled beside the training."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Callable

SAMPLES = 30
EVERY = 2.0  # seconds


class GpuBusy:
    """Asks in a thread of its own, so that no step waits for the answer; `share` is the mean of the last minute."""

    def __init__(self, read: Callable[[], float | None], every: float = EVERY) -> None:
        self._read, self._every = read, every
        self._samples: deque[float] = deque(maxlen=SAMPLES)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="m3r-gpu-busy", daemon=True)

    def __enter__(self) -> GpuBusy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def share(self) -> float | None:
        """Between 0 and 1; None as long as nothing is known."""
        samples = list(self._samples)
        return sum(samples) / len(samples) if samples else None

    def _sample(self) -> None:
        while not self._stop.wait(self._every):
            value = self._read()
            if value is None:
                return
            self._samples.append(value)


def gpu_reader(device: str) -> Callable[[], float | None]:
    """What asks the driver about a device such as cuda or cuda:1; None for anything else or without `nvidia-smi`."""
    program = shutil.which("nvidia-smi")
    if not device.startswith("cuda") or program is None:
        return lambda: None
    import torch

    uuid = str(torch.cuda.get_device_properties(torch.device(device)).uuid)
    name = uuid if uuid.startswith("GPU-") else f"GPU-{uuid}"
    command = [program, "-i", name, "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]

    def ask() -> float | None:
        try:
            return parse_share(subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout)
        except (OSError, subprocess.SubprocessError):
            return None

    return ask


def parse_share(text: str) -> float | None:
    """From the driver's percent; None if it says something else, such as [N/A] for a slice of a GPU."""
    try:
        return float(text.strip()) / 100
    except ValueError:
        return None
