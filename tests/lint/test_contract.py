"""The contract of clients and stores changes only on purpose."""

import json

import pytest

import recorded_contract


@pytest.mark.parametrize("part", sorted(recorded_contract.contract()))
def test_the_contract_is_the_recorded_one(part: str) -> None:
    """Run `make contract` after an intended change, and look at the difference."""
    assert (
        recorded_contract.contract()[part] == json.loads(recorded_contract.FILE.read_text())[part]
    )
