"""The seeds and findings of `make fuzz` are tried again, quickly."""

from pathlib import Path

import pytest

from support.fuzzing import check, targets

CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus"
INPUTS = sorted(CORPUS.iterdir())


@pytest.mark.parametrize("first_byte", sorted(targets().values()))
def test_headers_that_fuzzing_tried_are_read_or_refused(first_byte: int) -> None:
    """One test a target: an error names the input in its traceback."""
    tried = 0
    for path in INPUTS:
        content = path.read_bytes()
        if content and content[0] % len(targets()) == first_byte:
            check(content)
            tried += 1
    assert tried > 0


def test_the_inputs_are_few_and_small() -> None:
    sizes = [path.stat().st_size for path in INPUTS]
    assert sum(sizes) <= 400_000
    assert max(sizes) <= 4096
