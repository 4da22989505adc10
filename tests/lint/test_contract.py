"""The contract of clients and stores changes only on purpose."""

import json

import pytest

import contract


@pytest.mark.parametrize("part", sorted(contract.contract()))
def test_the_contract_is_the_recorded_one(part: str) -> None:
    """Run `make contract` after an intended change, and look at the difference."""
    assert contract.contract()[part] == json.loads(contract.FILE.read_text())[part]
