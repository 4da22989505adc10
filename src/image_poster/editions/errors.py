"""Why an edition cannot start."""


class StartError(Exception):
    """A setting or a circumstance that stops the start; the text is the one sentence shown."""
