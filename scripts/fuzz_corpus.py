"""Write the seeds of `make fuzz` anew: the headers of generated images, each after a byte that
selects its target. Inputs that fuzzing found are stored beside them.

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
    """Yield the name and content of each seed."""
    target = fuzzing.targets()
    for image in generated(seed=1, count=31):
        image_format = sniff(image.content[:64])
        if image_format is not None:
            name = image.name.replace(" ", "-")
            yield name, bytes([target[image_format.name.lower()]]) + image.content[:MAX_BYTES]
            yield f"sniffed-{name}", bytes([target["sniffing"]]) + image.content[:200]
    tiff = samples.from_phone(6)
    at = tiff.index(b"Exif\0\0")
    yield "exif", bytes([target["exif"]]) + tiff[at : at + 200]
    yield "bitmap", bytes([target["bitmap"]]) + samples.bitmap(4, 4)
    yield "profile", bytes([target["profile"]]) + wide_profile()


def main() -> None:
    """Write the seeds to the corpus."""
    CORPUS.mkdir(parents=True, exist_ok=True)
    for name, content in seeds():
        (CORPUS / name).write_bytes(content)


if __name__ == "__main__":
    main()
