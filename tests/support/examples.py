"""The number of examples that the profile in force asks for (see `conftest.py`)."""

from hypothesis import settings


def examples() -> int:
    """Of each property."""
    in_force = settings.default
    assert in_force is not None
    return in_force.max_examples
