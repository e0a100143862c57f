"""The op on another processor: cross-compiled for aarch64 (NEON) and run under qemu, where both are installed."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mast3r_kernels.native import FLAGS, RECIPROCAL_MATCH
from tests.kernels.brute_force import brute_walk, unit

COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64-static"

pytestmark = [
    pytest.mark.skipif(not shutil.which(COMPILER), reason=f"{COMPILER} is not installed"),
    pytest.mark.skipif(not shutil.which(EMULATOR), reason=f"{EMULATOR} is not installed"),
    pytest.mark.skipif(platform.machine() == "aarch64", reason="this is aarch64: the other tests run it"),
]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("aarch64")
    sources = [RECIPROCAL_MATCH.folder / unit.file for unit in RECIPROCAL_MATCH.units if not unit.machines]
    driver = Path(__file__).with_name("reciprocal_match_driver.cpp")
    command = [
        COMPILER,
        *FLAGS,
        "-static",
        "-Wall",
        "-Wextra",
        "-Werror",
        *map(str, sources),
        str(driver),
        "-o",
        str(folder / "search"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "search"


@pytest.mark.parametrize(
    ("a", "b", "width"),
    [
        (unit(130, 24, 1), unit(129, 24, 2), 0),
        (unit(16 * 20, 24, 3), unit(20 * 30, 24, 4), 20),
        (unit(1, 5, 5), unit(2, 5, 6), 1),
        (unit(70, 3, 7).mul(2).round(), unit(200, 3, 8).mul(2).round(), 10),  # ties
        (unit(1, 24, 9) + 1e-6 * unit(60, 24, 10), unit(1, 24, 9) + 1e-6 * unit(300, 24, 11), 0),  # near ties
    ],
)
def test_neon_finds_what_brute_force_finds(program: Path, a: Tensor, b: Tensor, width: int) -> None:
    starts = torch.arange(0, len(a), 3)
    head = torch.tensor([len(a), width, len(b), width, a.shape[1], len(starts)])
    sent = b"".join(part.contiguous().numpy().tobytes() for part in (head, a, b, starts))
    done = subprocess.run([EMULATOR, str(program)], input=sent, capture_output=True, check=True)
    found = {(int(p), int(q)) for p, q in (line.split() for line in done.stdout.decode().splitlines())}
    assert found == brute_walk(a, b, starts.tolist(), 10)
