"""Results into files: read on after a break, checked against their SHA-256, and put in place whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import quote

from m3r_client.answers import Artifact
from m3r_client.errors import ConnectionLost, CorruptDownload, UnexpectedAnswer
from m3r_client.progress import ByteCount, OnProgress
from m3r_client.retrying import Patience, RetryPolicy, wait_after
from m3r_client.simple_calls import job_path, list_artifacts
from m3r_client.steps import Broken, Open, Pause, Read, Reply, Request, Steps, Work

CHUNK_BYTES = 1 << 20


def download_all(
    policy: RetryPolicy, job_id: str, folder: Path | None, names: Collection[str] | None, on_progress: OnProgress
) -> Steps[list[Artifact]]:
    """Save a job's files (those of `names`; None: all) in a folder; gives what there is. Files that are there are not fetched."""
    artifacts = yield from list_artifacts(policy, job_id)
    wanted = [artifact for artifact in artifacts if names is None or artifact.name in names]
    missing = set(names or ()) - {artifact.name for artifact in artifacts}
    if missing:
        raise ValueError(f"job {job_id} has no {', '.join(sorted(missing))}; it has {', '.join(a.name for a in artifacts)}")
    if folder is not None:
        count = ByteCount("download", sum(artifact.bytes for artifact in wanted), on_progress)
        for artifact in wanted:
            yield from download_file(policy, job_id, artifact, place_in(folder, artifact.name), count)
    return wanted


def download_file(policy: RetryPolicy, job_id: str, artifact: Artifact, target: Path, count: ByteCount) -> Steps[None]:
    """Save one file. What an earlier process left of it is gone on with.

    Raises:
        CorruptDownload: other bytes came than were promised, twice.
        Refused, ConnectionLost: see `retrying.send`.
    """
    if (yield Work(partial(_is_there, target, artifact))):
        count.add(artifact.bytes, artifact.name)
        return
    for last_try in (False, True):
        part = yield Work(partial(PartFile, target, artifact))
        try:
            count.add(part.size, artifact.name)
            yield from _fetch(policy, f"{job_path(job_id)}/artifacts/{quote(artifact.name)}", part, count)
            found = yield Work(part.finish)
        finally:
            part.close()
        if found == artifact.sha256:
            return
        count.add(-part.size, artifact.name)
        if last_try:
            raise CorruptDownload(f"{artifact.name}: SHA-256 is {found}, the service promised {artifact.sha256}")


def place_in(folder: Path, name: str) -> Path:
    """Where a file of this name goes; raises UnexpectedAnswer for a name that would leave the folder."""
    parts = PurePosixPath(name).parts
    if not parts or any(part in ("..", "/", ".") or "\\" in part for part in parts) or name.startswith("/"):
        raise UnexpectedAnswer(f"the service names a file {name!r}; that is no name within a folder")
    return folder.joinpath(*parts)


def _fetch(policy: RetryPolicy, path: str, part: PartFile, count: ByteCount) -> Steps[None]:
    """Fetch what is missing of a file; gives up when nothing more comes for as long as the patience lasts."""
    patience = Patience(policy)
    while part.size < part.wanted:
        headers = {"Accept-Encoding": "identity"}
        if part.size:
            headers["Range"] = f"bytes={part.size}-"
        request = Request("GET", path, headers=headers)
        answer: Reply | Broken = yield Open(request)
        if isinstance(answer, Broken) or (answer.status >= 400 and answer.status != 416):
            yield Pause(wait_after(answer, request, patience))
            continue
        if answer.status != 206 and part.size:  # the whole file comes, or what we have cannot be the beginning of it
            count.add(-part.size, part.name)
            yield Work(part.empty)
        chunk: bytes | Broken | None = yield Read()
        while isinstance(chunk, bytes):
            patience.renew()
            count.add(len(chunk), part.name)
            yield Work(partial(part.write, chunk))
            chunk = yield Read()
        if part.size < part.wanted:
            reason = chunk.reason if isinstance(chunk, Broken) else "the answer ended too early"
            yield Pause(patience.next_wait(ConnectionLost(f"GET {path}: {reason}")))


class PartFile:
    """A file that is being fetched, beside where it goes, under a name that only these bytes have."""

    def __init__(self, target: Path, artifact: Artifact) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        self.name = artifact.name
        self.wanted = artifact.bytes
        self._target = target
        self._sha256 = artifact.sha256
        self._path = target.with_name(f".{target.name}.{artifact.sha256[:16]}.part")
        self._file: BinaryIO = self._path.open("a+b")
        self._digest = hashlib.sha256()
        self.size = 0
        self._file.seek(0)
        while chunk := self._file.read(CHUNK_BYTES):
            self._digest.update(chunk)
            self.size += len(chunk)

    def write(self, chunk: bytes) -> None:
        """Append bytes."""
        self._file.write(chunk)
        self._digest.update(chunk)
        self.size += len(chunk)

    def empty(self) -> None:
        """Begin anew."""
        self._file.truncate(0)
        self._digest = hashlib.sha256()
        self.size = 0

    def finish(self) -> str:
        """Put the file in place if it is right, else remove it; gives the SHA-256 of what came."""
        found = self._digest.hexdigest()
        if found == self._sha256:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._path.replace(self._target)
        else:
            self._path.unlink()
        return found

    def close(self) -> None:
        """Keep what has come."""
        self._file.close()


def _is_there(target: Path, artifact: Artifact) -> bool:
    if not target.is_file() or target.stat().st_size != artifact.bytes:
        return False
    with target.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == artifact.sha256
