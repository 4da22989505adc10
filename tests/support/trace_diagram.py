"""A trace as text: a line for each span, with its time as a bar."""

from support.collector import Span

_WIDTH = 48


def diagram(trace: list[Span]) -> str:
    """The spans below each other, children indented below their parents, on one scale."""
    began = min(span.began_ns for span in trace)
    scale = _WIDTH / max(1, max(span.ended_ns for span in trace) - began)
    ids = {span.id for span in trace}
    lines = [f"{'':28}{'begin':>9} {'time':>9}"]

    def add(span: Span, depth: int) -> None:
        start = round((span.began_ns - began) * scale)
        length = max(1, round((span.ended_ns - span.began_ns) * scale))
        name = f"{'  ' * depth}{span.name}"
        times = f"{(span.began_ns - began) / 1e6:6.1f} ms {span.milliseconds:6.1f} ms"
        lines.append(f"{name:28}{times}  {' ' * start}{'█' * length}".rstrip())
        for child in trace:
            if child.parent == span.id:
                add(child, depth + 1)

    for span in trace:
        if span.parent not in ids:
            add(span, 0)
    return "\n".join(lines)
