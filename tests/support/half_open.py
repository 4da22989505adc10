"""A request whose body does not come to its end."""

import socket
from urllib.parse import urlsplit


def half_open_patch(url: str, path: str, user: str, content: bytes, *, whole: int) -> socket.socket:
    """A PATCH from offset 0 that announces `whole` bytes and sends `content`; its connection stays
    open."""
    address = urlsplit(url)
    connection = socket.create_connection((address.hostname, address.port), timeout=60)
    head = (
        f"PATCH {path} HTTP/1.1\r\nHost: {address.netloc}\r\nuser-id: {user}\r\n"
        "Tus-Resumable: 1.0.0\r\nContent-Type: application/offset+octet-stream\r\n"
        f"Upload-Offset: 0\r\nContent-Length: {whole}\r\n\r\n"
    )
    connection.sendall(head.encode() + content)
    return connection
