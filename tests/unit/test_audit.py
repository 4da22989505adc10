"""`make audit` never calls unknown what it did not look up."""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from audit import NOT_LOOKED_UP, VULNERABLE, verdict

WELL = {"name": "click", "version": "8", "vulns": []}
BAD = {
    "name": "pillow",
    "version": "1",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["2", "1.1"], "aliases": [], "description": ""}],
}
SKIPPED = {"name": "six", "skip_reason": "Dependency not found on PyPI"}


def report(*dependencies: dict[str, Any]) -> str:
    return json.dumps({"dependencies": dependencies, "fixes": []})


def test_all_looked_up_and_nothing_known_is_well() -> None:
    assert verdict(report(WELL), "") == (
        ["1 of 1 distributions looked up", "no known vulnerabilities"],
        0,
    )


def test_what_is_vulnerable_is_named_with_its_mended_releases() -> None:
    result = verdict(report(WELL, BAD, SKIPPED), "")
    assert result.code == VULNERABLE
    assert result.lines[0] == "pillow 1: PYSEC-1, mended in 2, 1.1"


def test_what_was_not_looked_up_is_no_good_news() -> None:
    result = verdict(report(WELL, SKIPPED), "No known vulnerabilities found")
    assert result.code == NOT_LOOKED_UP
    assert result.lines[:2] == ["not looked up: six", "1 of 2 distributions looked up"]
    assert result.lines[-1].startswith("not audited")
    assert verdict(report(), "").code == NOT_LOOKED_UP


def test_a_source_out_of_reach_is_said_in_its_own_words() -> None:
    broke = "Traceback (most recent call last):\nConnectionError: no route\n"
    assert verdict("", broke) == (["not audited: ConnectionError: no route"], NOT_LOOKED_UP)
    assert verdict("", "").code == NOT_LOOKED_UP
