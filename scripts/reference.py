"""Generated pages of the site: the API reference from the OpenAPI document, and the options of all
commands from click. They need no script, and the site's search includes them."""

from collections.abc import Iterator
from typing import Any

import click

from api_document import Document, Operation, Schema

IDENTITY = {
    "needed": "Needs `Authorization: Bearer TOKEN`, or `user-id: NAME` with `auth=dev`.",
    "heeded": "Answers everybody, and takes who is asking into account.",
}
INTRODUCTION = """\
# API reference

Made from the OpenAPI document of version {version}, which is also here [as a file](openapi.json),
and served by every server at `/openapi.json` and, to try things out, at `/docs`.

{description}
"""


OPTIONS = """\
# Options of all commands

Generated from `image-poster COMMAND --help`. [Commands](cli.md) has exit codes and explanations.
"""


def options_page(program: click.Group) -> str:
    """Return a page with one section for each command, with its help text."""
    lines = [OPTIONS]
    for name, command in sorted(program.commands.items()):
        with click.Context(
            command, info_name=f"image-poster {name}", max_content_width=90
        ) as context:
            lines += [f"## {name}", "", "```text", command.get_help(context), "```", ""]
    return "\n".join(lines)


def reference_page(document: Document) -> str:
    """Return a page with a section for each tag, a part for each operation, and the schemas at the
    end."""
    lines = [INTRODUCTION.format(version=document.version, description=document.description)]
    for tag, meaning in document.tags.items():
        lines += [f"## {tag.capitalize()}", "", meaning, ""]
        for operation in document.operations:
            if operation.tag == tag:
                lines += [*_operation(operation), ""]
    lines += ["## Schemas", ""]
    for name, schema in document.schemas.items():
        lines += [f"### {name}", "", *_fields(schema), ""]
    return "\n".join(lines)


def _operation(operation: Operation) -> Iterator[str]:
    yield f"### {operation.method} {operation.path}"
    yield ""
    yield f"**{operation.summary}.** {operation.description}".replace("?.**", "?**")
    yield ""
    if operation.identity != "ignored":
        yield IDENTITY[operation.identity]
        yield ""
    if operation.parameters:
        yield from _table("parameter", "in", "type", "meaning")
        yield from map(_parameter, operation.parameters)
        yield ""
    for media_type, schema in operation.bodies.items():
        optional = "" if operation.body_required else " (may be left out)"
        yield f"Body `{media_type}`{optional}:"
        yield ""
        yield from _fields(schema)
        yield ""
    yield from _table("answer", "meaning", "body")
    yield from (_answer(status, answer) for status, answer in sorted(operation.answers.items()))


def _table(*heads: str) -> tuple[str, str]:
    return f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"


def _row(*cells: str) -> str:
    safe = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
    return f"| {' | '.join(safe)} |"


def _parameter(parameter: dict[str, Any]) -> str:
    required = " (required)" if parameter.get("required") else ""
    meaning = parameter.get("description") or ""
    return _row(
        f"`{parameter['name']}`{required}", parameter["in"], _kind(parameter["schema"]), meaning
    )


def _answer(status: int, answer: dict[str, Any]) -> str:
    bodies = [
        f"`{media_type}` {_kind(media['schema'])}"
        for media_type, media in answer.get("content", {}).items()
    ]
    return _row(str(status), answer["description"], ", ".join(bodies) or "none")


def _fields(schema: Schema) -> Iterator[str]:
    """Describe an object by a table of its fields, anything else by a sentence."""
    if "properties" not in schema:
        yield _kind(schema)
        return
    yield from _table("field", "type", "meaning")
    required = schema.get("required", [])
    for name, field in schema["properties"].items():
        always = "" if name in required else " (may be left out)"
        yield _row(f"`{name}`{always}", _kind(field), field.get("description", ""))


def _kind(schema: Schema) -> str:
    """Describe the allowed values in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if choices := schema.get("oneOf") or schema.get("anyOf"):
        return " or ".join(_kind(choice) for choice in choices)
    if "const" in schema or "enum" in schema:
        allowed = schema.get("enum") or [schema["const"]]
        return ", ".join(f"`{value}`" for value in allowed)
    if "properties" in schema:
        inner = (f"`{name}`: {_kind(field)}" for name, field in schema["properties"].items())
        return "; ".join(inner)
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    return _plain(schema)


def _plain(schema: Schema) -> str:
    kinds = schema.get("type", "anything")
    names = kinds if isinstance(kinds, list) else [kinds]
    bounds = {"minimum": "≥", "maximum": "≤", "minLength": "length ≥", "maxLength": "length ≤"}
    limits = [f"{sign} {schema[key]}" for key, sign in bounds.items() if key in schema]
    return ", ".join([" or ".join(names), *limits])
