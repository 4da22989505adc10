"""Decode the texts of a form's parts (RFC 7578) from their charset and transfer encoding, or refuse
them. Raw bytes of another encoding are never decoded as UTF-8."""

import binascii
from base64 import b64decode
from collections.abc import Callable

from image_poster.domain.errors import invalid

DEFAULT_CHARSET = "utf-8"
# What HTTP libraries are seen to send; Latin-1 is what the web means by it (WHATWG Encoding
# Standard, section 4.2). Python knows many more, of which some are no charsets at all.
_CODECS = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "utf-8",
    "ascii": "utf-8",
    "iso-8859-1": "windows-1252",
    "latin1": "windows-1252",
    "windows-1252": "windows-1252",
    "iso-8859-15": "iso-8859-15",
    "utf-16": "utf-16",
}
# RFC 2045 section 6: these leave the bytes as they are.
_PLAIN = {"", "7bit", "8bit", "binary"}


def _from_base64(content: bytes) -> bytes:
    return b64decode(b"".join(content.split()), validate=True)


_TRANSFER_DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "base64": _from_base64,
    "quoted-printable": binascii.a2b_qp,
}


def check_plain(name: str, transfer_encoding: str) -> None:
    """Check that the part `name`, which is bytes, has no transfer encoding. Raises
    `ValidationFailedError`."""
    if transfer_encoding.strip().lower() not in _PLAIN:
        sent = transfer_encoding[:40]
        raise invalid(name, f"has Content-Transfer-Encoding {sent}; send its bytes as they are")


def decoded(name: str, content: bytes, charset: str, transfer_encoding: str) -> str:
    """The text of the part `name`. Raises `ValidationFailedError` for an unknown encoding, and for
    bytes that are invalid in it."""
    decode = _TRANSFER_DECODERS.get(transfer_encoding.strip().lower())
    codec = _CODECS.get(charset.strip().lower())
    if decode is None:
        check_plain(name, transfer_encoding)
    if codec is None:
        raise invalid(name, f"comes in the charset {charset[:40]!r}; send it in UTF-8")
    try:
        # Half of a surrogate pair passes here: `domain.limits.clean` names it.
        return (content if decode is None else decode(content)).decode(codec, "surrogatepass")
    except UnicodeDecodeError as exc:
        raise invalid(name, f"must be {codec.upper()}") from exc
    except (binascii.Error, ValueError) as exc:
        raise invalid(name, f"is not the {transfer_encoding} that it says") from exc
