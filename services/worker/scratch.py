"""Working folders on the local disk: one per attempt, removed when it ends; those of dead processes by whoever comes after."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from services.adapters.processes import is_alive
from services.adapters.settings import Settings

NAME = re.compile(r"m3r-work-(?P<host>.+)-(?P<pid>\d+)-[0-9a-f]+")


def base_folder(settings: Settings) -> Path:
    """Where working folders are made."""
    return Path(settings.scratch or tempfile.gettempdir())


@contextlib.contextmanager
def working_folder(settings: Settings, token: str) -> Iterator[Path]:
    """Make an attempt's folder (named for the process that cleans up after it) and remove it at the end."""
    folder = base_folder(settings) / f"m3r-work-{socket.gethostname()}-{os.getppid()}-{token}"
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(settings: Settings) -> None:
    """Remove the folders of this process' dead children, and of dead workers on this host. Called while no child works."""
    for folder in base_folder(settings).glob("m3r-work-*"):
        match = NAME.fullmatch(folder.name)
        if (
            match
            and match["host"] == socket.gethostname()
            and (int(match["pid"]) == os.getpid() or not is_alive(int(match["pid"])))
        ):
            shutil.rmtree(folder, ignore_errors=True)
