"""A chat completions endpoint that answers after a fixed delay: what every tool of the bench is pointed at.

Written on sockets alone so that it is never what is measured. ``GET /seen`` tells how many requests came and how many
were in flight at most; ``POST /reset`` begins anew.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any, cast

GRADE = json.dumps({"score": 10, "reason": "it says what was asked for"})


class Endpoint(asyncio.Protocol):
    delay = 0.05
    requests = 0
    running = 0
    most = 0
    transport: asyncio.Transport

    def __init__(self) -> None:
        self.buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while True:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self.buffer[:end]).lower()
            length = 0
            for line in head.split(b"\r\n")[1:]:
                name, _, value = line.partition(b":")
                if name == b"content-length":
                    length = int(value)
            if len(self.buffer) < end + 4 + length:
                return
            body = bytes(self.buffer[end + 4 : end + 4 + length])
            del self.buffer[: end + 4 + length]
            self.answer(head.split(b" ", 2)[1], body)

    def answer(self, path: bytes, body: bytes) -> None:
        kind = type(self)
        if path == b"/seen":
            self.send({"requests": Endpoint.requests, "most": Endpoint.most})
        elif path == b"/reset":
            Endpoint.requests = Endpoint.most = 0
            self.send({})
        else:
            Endpoint.requests += 1
            Endpoint.running += 1
            Endpoint.most = max(Endpoint.most, Endpoint.running)
            asyncio.get_running_loop().call_later(kind.delay, self.complete, body)

    def complete(self, body: bytes) -> None:
        Endpoint.running -= 1
        asked = json.loads(body)
        last = asked["messages"][-1]["content"]
        text = last if isinstance(last, str) else " ".join(part.get("text", "") for part in last)
        graded = "response_format" in asked or "evaluation steps" in text.lower()
        self.send(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": int(time.time()),
                "model": asked.get("model", "m"),
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": "stop",
                        "message": {"role": "assistant", "content": GRADE if graded else f"You said: {text[-200:]}"},
                    }
                ],
                "usage": {"prompt_tokens": 40, "completion_tokens": 12, "total_tokens": 52},
            }
        )

    def send(self, value: Any) -> None:
        if self.transport.is_closing():
            return
        body = json.dumps(value).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        self.transport.write(head + body)


async def main(delay: float) -> None:
    Endpoint.delay = delay
    server = await asyncio.get_running_loop().create_server(Endpoint, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(float(sys.argv[1])))
