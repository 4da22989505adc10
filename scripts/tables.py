"""Write the tables of docs/settings.md and docs/problems.md from the code: `make tables`.

A table keeps its last column, the notes that only the page has.
"""

import re
from collections.abc import Iterable
from dataclasses import MISSING, fields
from pathlib import Path

import image_poster.http.problems  # noqa: F401 - its errors are listed too
from image_poster.cli.options import variable
from image_poster.domain.errors import ERRORS
from image_poster.domain.limits import PUBLIC_RATES
from image_poster.editions.local.settings import Settings

DOCS = Path(__file__).parents[1] / "docs"


def settings_rows() -> Iterable[tuple[str, ...]]:
    """Return flag, variable, default and help of each setting."""
    for setting in fields(Settings):
        flag = f"`--{setting.name.replace('_', '-')}`"
        default = "" if setting.default is MISSING else setting.default
        if default == ():
            default = ""
        if default is None:
            shown = f"{getattr(PUBLIC_RATES, setting.name)} with `jwt`"
        else:
            shown = (
                str(default).lower() if isinstance(default, bool) else str(default) or "\N{EN DASH}"
            )
        yield flag, f"`{variable(setting.name)}`", shown, setting.metadata["help"]


def problem_rows() -> Iterable[tuple[str, ...]]:
    """Return code, status and detail of each problem, by status."""
    for error in sorted(ERRORS, key=lambda error: (error.status, error.code)):
        yield f"`{error.code}`", str(error.status), error.detail


def with_table(text: str, rows: Iterable[tuple[str, ...]]) -> str:
    """Return the page's text with a new first generated table; notes stay with their row."""
    begin, end = "<!-- table, by make tables -->\n", "<!-- /table -->"
    before, _, rest = text.partition(begin)
    table, _, after = rest.partition(end)
    heads, *lines = table.splitlines()
    notes = dict(re.findall(r"^\| (`[^`]+`) \|.*\| (.*?) ?\|$", "\n".join(lines), re.MULTILINE))
    body = [f"| {' | '.join(row)} | {notes.get(row[0], '')} |" for row in rows]
    return before + begin + "\n".join([heads, lines[0], *body, ""]) + end + after


PAGES = {"settings.md": settings_rows, "problems.md": problem_rows}


def main() -> None:
    """Write both pages."""
    for name, rows in PAGES.items():
        page = DOCS / name
        page.write_text(with_table(page.read_text(), rows()))


if __name__ == "__main__":
    main()
