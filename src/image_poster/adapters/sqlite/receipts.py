"""Answers to requests with an idempotency key, within the transaction of what they did."""

import sqlite3

from image_poster.domain.idempotency import AlreadyAnsweredError, Receipt


def check_unused(connection: sqlite3.Connection, receipt: Receipt | None) -> None:
    """Raises `AlreadyAnsweredError` if the receipt's key was used."""
    if receipt is None:
        return
    row = connection.execute(
        "SELECT user, key, fingerprint, body, location FROM receipts WHERE user = ? AND key = ?",
        (receipt.user, receipt.key),
    ).fetchone()
    if row is not None:
        raise AlreadyAnsweredError(Receipt(*row))


def keep(connection: sqlite3.Connection, receipt: Receipt | None, now_ms: int) -> None:
    """Remember an answer."""
    if receipt is not None:
        connection.execute(
            "INSERT INTO receipts (user, key, fingerprint, body, location, kept_at) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (
                receipt.user,
                receipt.key,
                receipt.fingerprint,
                receipt.body,
                receipt.location,
                now_ms,
            ),
        )
