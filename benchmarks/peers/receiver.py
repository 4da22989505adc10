"""A receiver of webhooks: `receiver.py PORT accept|hang|gone`. It reads each event, and answers
204, never, or 410."""

import asyncio
import sys

_ANSWERS = {
    "accept": b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n",
    "gone": b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
}


async def _receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.partition(b":")[2])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length:")
    )
    await reader.readexactly(length)
    if KIND == "hang":
        await asyncio.sleep(3600)
    writer.write(_ANSWERS[KIND])
    await writer.drain()
    writer.close()


async def _serve() -> None:
    server = await asyncio.start_server(_receive, "127.0.0.1", int(sys.argv[1]))
    port = server.sockets[0].getsockname()[1]
    print(f"listening on http://127.0.0.1:{port}", flush=True)
    await server.serve_forever()


KIND = sys.argv[2]
asyncio.run(_serve())
