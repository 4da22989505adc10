"""One verb a file. Each is a frozen dataclass of the ports it needs, called with the request's
facts."""
