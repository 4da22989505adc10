"""The composition roots: the only places that name concrete classes; and what their settings have
in common."""


class StartError(Exception):
    """A setting or a circumstance that stops the start; the text is the one sentence shown."""


def listed(text: str) -> tuple[str, ...]:
    """The entries of a comma-separated setting."""
    return tuple(entry.strip() for entry in text.split(",") if entry.strip())
