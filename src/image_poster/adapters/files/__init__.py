"""Pictures as files in one folder."""
