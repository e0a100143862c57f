"""An open-loop load over HTTP/1.1: requests leave when their time has come, whether earlier ones are answered or not.

Latency counts from the moment a request should have left, so that a service that stalls is not forgiven (no coordinated
omission). The client is bare sockets and ready-made bytes, since it shares the machine with what it measures.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

CONNECTIONS = 64  # kept open; more are made when all are in use


@dataclass(frozen=True)
class Answer:
    """One request's fate."""

    status: int  # 0: the connection failed
    latency_ms: float
    timing_ms: dict[str, float] = field(default_factory=dict)  # as the service tells it


class OpenLoop:
    """Sends one and the same request at a rate."""

    def __init__(self, url: str, path: str, headers: dict[str, str], body: bytes) -> None:
        place = urlsplit(url)
        self._host, self._port = place.hostname or "127.0.0.1", place.port or 80
        lines = [f"POST {path} HTTP/1.1", f"Host: {place.netloc}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._request = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def run(self, rate: float, seconds: float, seed: int = 0) -> list[Answer]:
        """Send `rate` requests a second with exponential gaps for so long; wait for every answer."""
        draw, begun = random.Random(seed), time.perf_counter()
        at, tasks = 0.0, []
        while at < seconds:
            await asyncio.sleep(max(0.0, begun + at - time.perf_counter()))
            tasks.append(asyncio.create_task(self._send(begun + at)))
            at += draw.expovariate(rate)
        return await asyncio.gather(*tasks)

    async def close(self) -> None:
        """Close the connections."""
        for _, writer in self._free:
            writer.close()
        self._free = []

    async def _send(self, due: float) -> Answer:
        try:
            reader, writer = await self._connection()
            writer.write(self._request)
            status, body = await _read_answer(reader)
        except (OSError, asyncio.IncompleteReadError, ValueError):
            return Answer(0, 1000 * (time.perf_counter() - due))
        latency = 1000 * (time.perf_counter() - due)
        if len(self._free) < CONNECTIONS:
            self._free.append((reader, writer))
        else:
            writer.close()
        timing: dict[str, float] = body.get("timing_ms", {}) if status == 200 else {}
        return Answer(status, latency, timing)

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._free:
            reader, writer = self._free.pop()
            if not reader.at_eof():  # the service closes what is idle for long
                return reader, writer
            writer.close()
        return await asyncio.open_connection(self._host, self._port)


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, Any]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
    body = await reader.readexactly(int(fields["content-length"]))
    return int(head[0].split()[1]), json.loads(body)
