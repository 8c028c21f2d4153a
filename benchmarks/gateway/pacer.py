"""An arm that paces: streams of events whose every chunk is due at a time, or an answer after a while.

``python -m benchmarks.gateway.pacer <port> stream <chunks> <seconds between>`` or ``… <port> delay <seconds>``. One
thread over epoll, a timer of the kernel's for the next chunk that is due: at 50,000 chunks a second it takes a third
of a core, so that what is late is the proxy's doing.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket
import struct
import sys
from collections import deque
from heapq import heappop, heappush
from time import perf_counter

HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
LATE = b'{"ok": true}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(LATE), LATE)
END = b"0\r\n\r\n"
_TIMESPEC = struct.Struct("qqqq")
_libc = ctypes.CDLL(None, use_errno=True)


def frames(stream: bytes, chunks: int) -> list[bytes]:
    """The events of a stream: each says whose it is, and which."""
    text = b'data: {"id":"%b","n":%d,"choices":[{"index":0,"delta":{"content":"token%d "}}]}\n\n'
    return [text % (stream, number, number) for number in range(chunks)]


class Timer:
    """Wakes epoll at a time, to the microsecond."""

    def __init__(self) -> None:
        self.fd = _libc.timerfd_create(1, os.O_NONBLOCK)  # CLOCK_MONOTONIC
        self._set = 0.0

    def at(self, when: float, now: float) -> None:
        """Wake at ``when`` of ``perf_counter()``."""
        if when == self._set:
            return
        self._set = when
        wait = max(1e-6, when - now)
        seconds = int(wait)
        value = _TIMESPEC.pack(0, 0, seconds, int((wait - seconds) * 1e9) or 1)
        _libc.timerfd_settime(self.fd, 0, value, None)

    def clear(self) -> None:
        """It has fired."""
        try:
            os.read(self.fd, 8)
        except BlockingIOError:
            pass


class Stream:
    """A connection: what came of a request, and what is still due of an answer."""

    __slots__ = ("buffer", "left", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = b""
        self.left: deque[bytes] = deque()

    def request(self, data: bytes) -> bytes | None:
        """The head of a request that is whole now."""
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = self.buffer[:end].lower() + b"\r\n"
        at = head.find(b"\r\ncontent-length:")
        length = int(head[at + 17 : head.find(b"\r\n", at + 2)]) if at >= 0 else 0
        if len(self.buffer) < end + 4 + length:
            return None
        self.buffer = self.buffer[end + 4 + length :]
        return head


class Pacer:
    """The arm."""

    def __init__(self, port: int, *, chunks: int, pace: float) -> None:
        """Listen.

        Args:
            port: On 127.0.0.1.
            chunks: Events of a stream; 0: one whole answer after ``pace``.
            pace: Seconds from one to the next.
        """
        self._chunks, self._pace = chunks, pace
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", port))
        self._listener.listen(4096)
        self._listener.setblocking(False)
        self._epoll = select.epoll()
        self._timer = Timer()
        self._epoll.register(self._listener.fileno(), select.EPOLLIN)
        self._epoll.register(self._timer.fd, select.EPOLLIN)
        self._streams: dict[int, Stream] = {}
        self._due: list[tuple[float, int, Stream]] = []
        self._number = 0

    def serve(self) -> None:
        """Until the process ends."""
        listening, timer = self._listener.fileno(), self._timer.fd
        while True:
            if self._due:
                self._timer.at(self._due[0][0], perf_counter())
            for fd, _ in self._epoll.poll():
                if fd == timer:
                    self._timer.clear()
                elif fd == listening:
                    self._accept()
                else:
                    self._read(fd)
            self._send_what_is_due(perf_counter())

    def _accept(self) -> None:
        sock, _ = self._listener.accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._streams[sock.fileno()] = Stream(sock)
        self._epoll.register(sock.fileno(), select.EPOLLIN)

    def _read(self, fd: int) -> None:
        stream = self._streams[fd]
        try:
            data = stream.sock.recv(262_144)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._epoll.unregister(fd)
            self._streams.pop(fd).sock.close()
        elif (head := stream.request(data)) is not None:
            self._begin(stream, head)

    def _begin(self, stream: Stream, head: bytes) -> None:
        now = perf_counter()
        if head.startswith(b"get /healthz"):
            stream.sock.send(ANSWER)
            return
        if self._chunks:
            at = head.find(b"\r\nx-stream:")
            name = head[at + 11 : head.find(b"\r\n", at + 2)].strip() if at >= 0 else b"0"
            made = [b"%x\r\n%b\r\n" % (len(frame), frame) for frame in frames(name, self._chunks)]
            made[-1] += END
            stream.sock.send(HEAD + made[0])
            stream.left = deque(made[1:])
        else:
            stream.left = deque([ANSWER])
        self._later(now + self._pace, stream)

    def _later(self, when: float, stream: Stream) -> None:
        if stream.left:
            self._number += 1
            heappush(self._due, (when, self._number, stream))

    def _send_what_is_due(self, now: float) -> None:
        due = self._due
        while due and due[0][0] <= now:
            when, _, stream = heappop(due)
            try:
                stream.sock.send(stream.left.popleft())
            except OSError:
                continue  # its client has left
            self._later(when + self._pace, stream)


if __name__ == "__main__":
    count, seconds = (int(sys.argv[3]), float(sys.argv[4])) if sys.argv[2] == "stream" else (0, float(sys.argv[3]))
    Pacer(int(sys.argv[1]), chunks=count, pace=seconds).serve()
