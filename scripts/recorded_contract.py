"""Write tests/lint/contract.json, what clients and stores depend on: `make contract`.

It has the OpenAPI document without texts for people, the flags of each command, problem codes,
names of metrics, and the database's schema. A change of it is a change of the contract.
"""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import click
from prometheus_client.metrics import MetricWrapperBase

from image_poster.adapters.sqlite.schema import prepare
from image_poster.cli.main import cli
from image_poster.domain.errors import ERRORS
from image_poster.http import metrics
from image_poster.http.app import openapi_document

FILE = Path(__file__).parents[1] / "tests" / "lint" / "contract.json"
_TEXTS = {"summary", "description", "title"}
_EXAMPLES = {"example", "examples"}


def contract() -> dict[str, Any]:
    """Return the contract, each part by its name."""
    document = _without_texts(json.loads(openapi_document()))
    return {
        "paths": document["paths"],
        "components": document["components"],
        "commands": {name: _flags(command) for name, command in sorted(cli.commands.items())},
        "problems": {error.code: error.status for error in ERRORS},
        "metrics": sorted(
            next(iter(metric.describe())).name
            for metric in vars(metrics).values()
            if isinstance(metric, MetricWrapperBase)
        ),
        "schema": _schema(),
    }


def _without_texts(value: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        return {
            key: _without_texts(member)
            for key, member in value.items()
            if key not in _EXAMPLES and not (key in _TEXTS and isinstance(member, str))
        }
    return [_without_texts(member) for member in value] if isinstance(value, list) else value


def _flags(command: click.Command) -> list[str]:
    return sorted(flag for parameter in command.params for flag in parameter.opts)


def _schema() -> list[str]:
    with closing(sqlite3.connect(":memory:")) as connection:
        prepare(connection)
        rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL ORDER BY name")
        return [" ".join(sql.split()) for (sql,) in rows]


if __name__ == "__main__":
    FILE.write_text(json.dumps(contract(), indent=1, sort_keys=True) + "\n")
