"""The units of DynamoDB and the bill in docs/aws-costs.md are those that the code counts."""

import re

import pytest

import aws_units
import scale
from aws_local.stack import TEMPLATE
from image_poster.adapters.dynamodb.database import (
    ConditionFailedError,
    Delete,
    Has,
    Item,
    Key,
    Put,
    Query,
    Update,
)
from support.dynamodb import Index
from support.prices import PricedTable, index_units, item_bytes, read_units, write_units

pytestmark = pytest.mark.anyio
BOOK = (TEMPLATE.parents[1] / "docs" / "aws-costs.md").read_text()
KEY = Key("p", "s")
THIN = Index("thin", "feed", "rank", frozenset())
FAT = Index("fat", "feed", "rank", frozenset({"text"}))


def item(size: int, **more: str) -> Item:
    """An item of so many bytes, beside what it has `more`."""
    item: Item = {"PK": KEY.pk, "SK": KEY.sk, "text": ""}
    return {**item, "text": "x" * (size - item_bytes(item)), **more}


@pytest.mark.parametrize(
    ("size", "reads", "eventual", "writes"),
    [
        (1, 1, 0.5, 1),
        (1024, 1, 0.5, 1),
        (1025, 1, 0.5, 2),
        (4096, 1, 0.5, 4),
        (4097, 2, 1, 5),
        (8192, 2, 1, 8),
    ],
)
def test_units_round_up_as_documented(
    size: int, reads: float, eventual: float, writes: int
) -> None:
    assert read_units(size, consistent=True) == reads
    assert read_units(size, consistent=False) == eventual
    assert write_units(size) == writes


def test_sizes_are_of_names_and_values() -> None:
    """Of a string: the length of the name and of the value in UTF-8."""
    assert item_bytes({"a": "é", "bc": True}) == 1 + 2 + 2 + 1
    assert item_bytes({"n": 12345}) == 1 + 3 + 1
    assert item_bytes({"b": b"1234"}) == 1 + 4


async def test_a_table_counts_writes_reads_and_refusals() -> None:
    table = PricedTable([])
    await table.write(Put(item(3000)))
    assert table.spent() == (0, 3)
    await table.get(KEY, consistent=False)
    await table.get(Key("nothing", "there"))
    assert table.spent() == (1.5, 0)
    with pytest.raises(ConditionFailedError):
        await table.write(Delete(KEY, (Has("missing"),)))
    assert table.spent() == (0, 3)  # "even if the expression evaluates to false"
    await table.transact([Update(KEY, put={"n": 1})])
    assert table.spent() == (0, 6)  # "two for each"
    await table.get_many([KEY, Key("nothing", "there")])
    assert table.spent() == (2, 0)


async def test_a_query_is_paid_for_by_what_it_looked_at_together() -> None:
    table = PricedTable([])
    for number in range(4):
        await table.write(Put({**item(900), "SK": f"{number}"}))
    table.spent()
    await table.query(Query("p", 10, without=("text",)))
    assert table.spent() == (0.5, 0)  # 3.6 KB together, though all were filtered


@pytest.mark.parametrize("index", [THIN, FAT])
def test_an_index_costs_what_its_entries_change(index: Index) -> None:
    """https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/GSI.html"""
    entry = 3 if index is FAT else 1
    old, listed = item(2500), item(2500, feed="f", rank="1")
    assert index_units(index, old, old) == 0  # no entry
    assert index_units(index, old, listed) == entry  # it comes
    assert index_units(index, listed, old) == entry  # it goes
    assert index_units(index, listed, {**listed, "rank": "2"}) == 2 * entry  # it moves
    assert index_units(index, listed, {**listed, "other": "2"}) == 0  # nothing projected
    assert index_units(index, listed, {**listed, "text": "y"}) == (entry if index is FAT else 0)


def test_the_book_has_the_units_as_they_are_counted() -> None:
    assert aws_units.table(aws_units.rows()) in BOOK


def test_the_book_has_the_tables_of_the_model() -> None:
    for table in scale.tables():
        assert table in BOOK


def test_the_plots_are_in_the_book() -> None:
    for name in ("limits", "answers", "bill"):
        assert re.search(rf"!\[[^]]+\]\(scale/{name}\.svg\)", BOOK)
        assert (scale.DOCS / f"{name}.svg").read_text().startswith("<svg")


def test_a_fold_writes_one_entry_with_texts_and_not_four() -> None:
    fold = {row.name: row for row in aws_units.rows()}["applying one comment (stream Lambda)"]
    assert fold.now.writes <= fold.was.writes - 12
