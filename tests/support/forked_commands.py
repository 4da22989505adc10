"""Runs commands of `image-poster` in one environment: `forked_commands.py DESCRIPTOR < JSON`.

Python starts once; each command is a forked process. Writes the results as JSON lines."""

import json
import os
import sys

from image_poster.cli.main import main


def start(words: list[str]) -> tuple[int, int]:
    """Start one command; its process, and a descriptor with its standard error."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writer, 2)
        os.closerange(3, 64)
        sys.argv = ["image-poster", *words]
        main()
    os.close(writer)
    return child, reader


def result_of(child: int, reader: int) -> bytes:
    """Wait for a command; its exit code and its standard error, as JSON."""
    with os.fdopen(reader, "rb") as stderr:
        text = stderr.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    result = {"code": os.waitstatus_to_exitcode(status), "stderr": text}
    return json.dumps(result).encode() + b"\n"


if __name__ == "__main__":
    commands = [
        [os.fsdecode(word.encode("latin-1")) for word in words] for words in json.load(sys.stdin)
    ]
    for started in [start(words) for words in commands]:
        os.write(int(sys.argv[1]), result_of(*started))
