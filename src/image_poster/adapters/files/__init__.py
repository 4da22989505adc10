"""Images as files in one folder."""
