"""Make the seeds of `make fuzz` anew: the headers of images that we make, each after the byte that
says what it is taken for. Inputs that fuzzing found are kept beside them.

python scripts/fuzz_corpus.py
"""

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
CORPUS = ROOT / "tests" / "fuzz" / "corpus"
MAX_BYTES = 1200
sys.path[:0] = [str(ROOT / "tests")]

from image_poster.domain.images import sniff  # noqa: E402 - after the path
from support import fuzzing, samples  # noqa: E402
from support.generated import generated, wide_profile  # noqa: E402


def seeds() -> Iterator[tuple[str, bytes]]:
    """By name."""
    target = fuzzing.targets()
    for image in generated(seed=1, count=31):
        found = sniff(image.content[:64])
        if found is not None:
            name = image.name.replace(" ", "-")
            yield name, bytes([target[found.name.lower()]]) + image.content[:MAX_BYTES]
            yield f"sniffed-{name}", bytes([target["sniffing"]]) + image.content[:200]
    tiff = samples.from_phone(6)
    at = tiff.index(b"Exif\0\0")
    yield "exif", bytes([target["exif"]]) + tiff[at : at + 200]
    yield "bitmap", bytes([target["bitmap"]]) + samples.bitmap(4, 4)
    yield "profile", bytes([target["profile"]]) + wide_profile()


def main() -> None:
    """Write them into the corpus."""
    CORPUS.mkdir(parents=True, exist_ok=True)
    for name, content in seeds():
        (CORPUS / name).write_bytes(content)


if __name__ == "__main__":
    main()
