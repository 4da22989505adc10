"""Images and pieces of uploads in two S3 buckets; `schema.py` says what is stored where."""
