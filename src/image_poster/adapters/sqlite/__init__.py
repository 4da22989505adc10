"""Posts and comments in one SQLite database: WAL, `synchronous=FULL`, one writer thread, group
commit."""
