"""Images and pieces of uploads in two S3 buckets; `objects.py` says what is stored where."""
