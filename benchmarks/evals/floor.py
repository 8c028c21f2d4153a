"""The floor: the same requests by a bare client on sockets, without suites, checks, results or a cache."""

from __future__ import annotations

import asyncio
import json
import sys


async def worker(port: int, waiting: list[int]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while waiting:
        number = waiting.pop()
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": f"Say word{number}."}]}).encode()
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        answer = json.loads(await reader.readexactly(length))
        assert f"word{number}" in answer["choices"][0]["message"]["content"]
    writer.close()


async def main(port: int, cases: int, concurrency: int) -> None:
    waiting = list(range(cases))
    await asyncio.gather(*(worker(port, waiting) for _ in range(concurrency)))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
