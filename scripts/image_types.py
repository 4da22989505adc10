"""Make the gallery's table of image types from the service's own (domain/images.py): `make web`.

`python scripts/image_types.py FOLDER` writes two files into FOLDER. image-types.ts is the table.
heads.json is for its test: first bytes of files, with the media types that the service recognises.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from image_poster.domain.images import (
    BRANDS,
    MAX_FTYP_BYTES,
    MIN_FTYP_BYTES,
    SIGNATURES,
    SNIFF_BYTES,
    sniff,
)

_HEADS = (
    b"",
    b"\xff\xd8\xff\xe0",
    b"\xff\xd8\xff",
    b"\xff\xd8\xff\x01",
    b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR",
    b"\x89PNG\r\n\x1a\n\0\0\0\x0dIDAT",
    b"GIF87a" + bytes(8),
    b"GIF89a" + bytes(7),
    b"GIF88a" + bytes(8),
    b"RIFF\n\n\n\nWEBPVP8X",
    b"RIFF\0\0\0\0WEBPVP8L",
    b"RIFF\0\0\0\0WEBPVP9 ",
    b"RIFF\0\0\0\0WAVEfmt ",
    *(b"BM" + bytes(12) + size.to_bytes(4, "little") for size in (12, 40, 41, 124, 2**16 + 40)),
    b"BM is how this text begins",
    b"<svg/>",
    b"\0\0\0\x18ftyp",
)


def table() -> str:
    """The tables of domain/images.py in TypeScript."""
    signatures = "".join(f'  ["{name}", /^{text}/],\n' for name, text in SIGNATURES.items())
    brands = "".join(f'  ["{name}", {json.dumps(known)}],\n' for name, known in BRANDS.items())
    return (
        '// Made from src/image_poster/domain/images.py by scripts/image_types.py ("make web").\n'
        f"export const SNIFF_BYTES = {SNIFF_BYTES};\n"
        f"export const MIN_FTYP_BYTES = {MIN_FTYP_BYTES};\n"
        f"export const MAX_FTYP_BYTES = {MAX_FTYP_BYTES};\n"
        f"export const SIGNATURES: [string, RegExp][] = [\n{signatures}];\n"
        f"export const BRANDS: [string, string[]][] = [\n{brands}];\n"
    )


def heads() -> Iterator[bytes]:
    """Yield first bytes of files: of each type, and close variants that are of no type."""
    yield from _HEADS
    for brand in ["isom", *(brand for known in BRANDS.values() for brand in known)]:
        code = brand.encode()
        yield _ftyp(code)
        yield _ftyp(b"isom", code)
        yield _ftyp(code, b"avif")
        yield _ftyp(b"isom", b"\0\0\0\0", code)
        yield _ftyp(b"isom", *([b"iso2"] * 11), code)  # within SNIFF_BYTES
        yield _ftyp(b"isom", *([b"iso2"] * 12), code)  # beyond them
        yield b"\0\0\0\x10ftypisom" + code  # as the minor version
        yield b"\0\0\0\x17ftyp" + code + bytes(20)  # a size that is no multiple of four
        yield b"\0\0\0\x0cftyp" + code + bytes(20)  # too small
        yield b"\0\0\1\x04ftyp" + code + bytes(20)  # too large
        yield b"\0\0\0\x10ftyp" + code[:3]


def _ftyp(*brands: bytes) -> bytes:
    content = b"ftyp" + brands[0] + bytes(4) + b"".join(brands[1:])
    return (len(content) + 4).to_bytes(4) + content + b"\0\0\0\x08meta"


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "image-types.ts").write_text(table())
    cases = "".join(f"{json.dumps([head.hex(), sniff(head)])},\n" for head in heads())
    (folder / "heads.json").write_text(f"[\n{cases[:-2]}\n]\n")
