"""Posts, comments, idempotency records and uploads in one DynamoDB table; `items.py` says what is
stored where."""
