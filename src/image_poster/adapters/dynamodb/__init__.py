"""Posts, comments, idempotency records and uploads in one DynamoDB table; `schema.py` lists its
items and indexes."""
