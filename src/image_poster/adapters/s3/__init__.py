"""Images and pieces of uploads in two S3 buckets; `schema.py` lists their keys."""
