"""Listens to many streams of events at once, checks every byte, and says when each came.

``python -m benchmarks.gateway.listener <port> <streams at once> <of each, one after the other> <chunks> <pace>`` prints
one JSON object. One thread over epoll; what came is kept and looked at when all is over.
"""

from __future__ import annotations

import json
import select
import socket
import sys
from time import perf_counter, sleep

from benchmarks.gateway.pacer import END, frames

BODY = b'{"stream":true,"messages":[{"role":"user","content":"hello"}]}'
LIMIT_SECONDS = 30.0
"""A stream that takes longer than its pace by so much is given up."""


class Slot:
    """One connection, on which streams follow each other."""

    __slots__ = ("came", "last", "left", "name", "pieces", "sent", "sock")

    def __init__(self, sock: socket.socket, left: int) -> None:
        self.sock = sock
        self.left = left
        self.name = b""
        self.sent = self.last = 0.0
        self.pieces: list[bytes] = []
        self.came = 0


def dechunked(data: bytes) -> bytes | None:
    """The payload of a chunked body; ``None`` when it is malformed or not whole."""
    found, at = b"", 0
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            return None
        try:
            size = int(data[at:end].split(b";")[0], 16)
        except ValueError:
            return None
        if not size:
            return found if data[end + 2 :] == b"\r\n" else None
        found += data[end + 2 : end + 2 + size]
        at = end + 2 + size + 2


def right(raw: bytes, name: bytes, chunks: int) -> bool:
    """Whether an answer is the stream that was asked for, whole and in order."""
    head, _, body = raw.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        return False
    payload = dechunked(body) if b"transfer-encoding: chunked" in head.lower() else None
    return payload == b"".join(frames(name, chunks))


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


class Listener:
    """All of them."""

    def __init__(self, port: int, *, at_once: int, each: int, chunks: int, pace: float) -> None:
        """Connect; nothing is asked yet."""
        self._chunks = chunks
        self._length = chunks * pace
        self._epoll = select.epoll()
        self._slots: dict[int, Slot] = {}
        self._first: list[float] = []
        self._gaps: list[float] = []
        self._done: list[tuple[bytes, bytes]] = []
        self._lost = 0
        self._running = at_once
        self._until = self._length * (each + 1) + LIMIT_SECONDS
        for _ in range(at_once):
            sock = socket.create_connection(("127.0.0.1", port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
            self._slots[sock.fileno()] = Slot(sock, each)
            self._epoll.register(sock.fileno(), select.EPOLLIN)

    def listen(self) -> dict[str, float]:
        """Run all streams, begun evenly over the time of one."""
        begun = perf_counter()
        step = self._length / len(self._slots)
        starts = [(begun + step * index, slot) for index, slot in enumerate(self._slots.values())][::-1]
        while self._running:
            now = perf_counter()
            if now - begun > self._until:
                self._lost += self._running
                break
            while starts and starts[-1][0] <= now:
                self._ask(starts.pop()[1])
            for fd, _ in self._epoll.poll(0.001 if starts else 1.0):
                self._read(self._slots[fd])
        return self._figures(perf_counter() - begun)

    def _ask(self, slot: Slot) -> None:
        slot.left -= 1
        slot.name = b"%d.%d" % (slot.sock.fileno(), slot.left)
        slot.pieces, slot.came = [], 0
        slot.sent = perf_counter()
        slot.sock.send(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\nX-Conversation-Id: %b\r\nX-Stream: %b\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (slot.name, slot.name, len(BODY), BODY)
        )

    def _read(self, slot: Slot) -> None:
        try:
            data = slot.sock.recv(65_536)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        now = perf_counter()
        if not data:
            self._lost += 1 + slot.left
            self._end(slot)
            return
        slot.pieces.append(data)
        events = data.count(b"data: ")
        if events:
            if slot.came:
                self._gaps.append(now - slot.last)
                self._gaps.extend([0.0] * (events - 1))
            else:
                self._first.append(now - slot.sent)
            slot.came += events
            slot.last = now
        refused = not slot.came and not data.startswith(b"HTTP/1.1 200 ")
        if refused or (slot.came >= self._chunks and data.endswith(END)):
            self._done.append((slot.name, b"".join(slot.pieces)))
            if slot.left:
                self._ask(slot)
            else:
                self._end(slot)

    def _end(self, slot: Slot) -> None:
        self._running -= 1
        self._epoll.unregister(slot.sock.fileno())

    def _figures(self, seconds: float) -> dict[str, float]:
        wrong = [raw for name, raw in self._done if not right(raw, name, self._chunks)]
        good = len(self._done) - len(wrong)
        if wrong:
            print(
                f"the first of {len(wrong)} wrong answers: {wrong[0][:300]!r} ... {wrong[0][-100:]!r}", file=sys.stderr
            )
        return {
            "streams": good,
            "wrong": len(wrong),
            "lost": self._lost,
            "seconds": seconds,
            "first_p50_ms": percentile(self._first, 0.5) * 1000,
            "first_p99_ms": percentile(self._first, 0.99) * 1000,
            "gap_p50_ms": percentile(self._gaps, 0.5) * 1000,
            "gap_p99_ms": percentile(self._gaps, 0.99) * 1000,
            "gap_max_ms": max(self._gaps, default=0.0) * 1000,
        }


if __name__ == "__main__":
    port, at_once, each, chunks = map(int, sys.argv[1:5])
    listener = Listener(port, at_once=at_once, each=each, chunks=chunks, pace=float(sys.argv[5]))
    sleep(0.2)  # every connection is accepted
    print(json.dumps(listener.listen()))
