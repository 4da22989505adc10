"""`make audit`: known vulnerabilities of the distributions in constraints.txt, by pip-audit.

pip-audit prints "No known vulnerabilities found", and exits with 0, even if it could not look up a
single distribution. Here that is a failure. Exit codes: 0 all looked up and nothing known, 1 some
are vulnerable, 3 not all could be looked up. No such list covers libraries inside of wheels
(libheif, libvips, x265; docs/decisions/0018).
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
VULNERABLE, NOT_LOOKED_UP = 1, 3


class Verdict(NamedTuple):
    """The lines to print, and an exit code."""

    lines: list[str]
    code: int


def main() -> None:
    """Run the audit, print its verdict, and exit."""
    words = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes"]
    words += ["--format", "json", "--progress-spinner", "off"]
    words += ["--requirement", str(ROOT / "constraints.txt")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    result = verdict(done.stdout, done.stderr)
    print("\n".join(result.lines))
    sys.exit(result.code)


def verdict(report: str, errors: str) -> Verdict:
    """Interpret pip-audit's report (JSON); `errors` is its standard error, for a run that
    failed."""
    try:
        dependencies: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except ValueError:
        said = errors.strip().splitlines()[-1:] or ["it said nothing"]
        return Verdict([f"not audited: {said[0]}"], NOT_LOOKED_UP)
    skipped = [dependency for dependency in dependencies if "skip_reason" in dependency]
    lines = [
        _line(dependency, vulnerability)
        for dependency in dependencies
        for vulnerability in dependency.get("vulns", ())
    ]
    vulnerable = bool(lines)
    if skipped:
        lines += ["not looked up: " + ", ".join(dependency["name"] for dependency in skipped)]
    looked_up = len(dependencies) - len(skipped)
    lines += [f"{looked_up} of {len(dependencies)} distributions looked up"]
    if vulnerable:
        return Verdict(lines, VULNERABLE)
    if skipped or not dependencies:
        lines += ["not audited: the source of known vulnerabilities is out of reach, or lacks some"]
        return Verdict(lines, NOT_LOOKED_UP)
    return Verdict([*lines, "no known vulnerabilities"], 0)


def _line(dependency: dict[str, Any], vulnerability: dict[str, Any]) -> str:
    fixed = ", ".join(vulnerability["fix_versions"]) or "no release yet"
    return f"{dependency['name']} {dependency['version']}: {vulnerability['id']}, mended in {fixed}"


if __name__ == "__main__":
    main()
