"""Line charts with both axes logarithmic, as SVG, for the docs."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 860, 420, 70, 40, 290, 50
# Told apart also by who sees few colours (Okabe and Ito, 2008); repeated dashed.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


class Series(NamedTuple):
    """A line: its name, and its points."""

    name: str
    points: Sequence[tuple[float, float]]


class _Axes(NamedTuple):
    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: float, y: float) -> tuple[float, float]:
        across = _part(x, self.x) * (_WIDTH - _LEFT - _RIGHT)
        up = _part(y, self.y) * (_HEIGHT - _TOP - _BOTTOM)
        return _LEFT + across, _HEIGHT - _BOTTOM - up


def _part(value: float, bounds: tuple[float, float]) -> float:
    low, high = map(math.log10, bounds)
    return (math.log10(max(value, bounds[0])) - low) / (high - low)


def chart(path: Path, title: str, series: Sequence[Series], mark: float | None = None) -> None:
    """Write it; `mark` is a line across."""
    xs = [x for curve in series for x, _ in curve.points]
    ys = [y for curve in series for _, y in curve.points if y > 0] + ([mark] if mark else [])
    axes = _Axes((min(xs), max(xs)), (_decade(min(ys), math.floor), _decade(max(ys), math.ceil)))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'font-family="sans-serif" font-size="12"><title>{escape(title)}</title>'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>'
        f'<text x="{_LEFT}" y="22" font-size="15">{escape(title)}</text>'
    )
    parts = [head, *_grid(axes)]
    if mark:
        (left, y), (right, _) = axes.at(axes.x[0], mark), axes.at(axes.x[1], mark)
        parts.append(f'<path d="M{left:.1f} {y:.1f}H{right:.1f}" stroke="black" stroke-width="2"/>')
    for number, curve in enumerate(series):
        parts += _line(axes, number, curve)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*parts, "</svg>"]) + "\n")


def _decade(value: float, rounded: Callable[[float], int]) -> float:
    return float(10 ** rounded(math.log10(value)))


def _grid(axes: _Axes) -> list[str]:
    paths = []
    for value in _decades(axes.y):
        (left, y), (right, _) = axes.at(axes.x[0], value), axes.at(axes.x[1], value)
        paths.append(f'<path d="M{left:.1f} {y:.1f}H{right:.1f}" stroke="#ddd"/>')
        paths.append(_text(left - 6, y + 4, f"{value:,g}", "end"))
    for value in _decades(axes.x):
        x, bottom = axes.at(value, axes.y[0])
        paths.append(f'<path d="M{x:.1f} {_TOP}V{bottom:.1f}" stroke="#ddd"/>')
        paths.append(_text(x, bottom + 18, f"{value:,g}/s", "middle"))
    return paths


def _decades(bounds: tuple[float, float]) -> list[float]:
    first, last = math.ceil(math.log10(bounds[0])), math.floor(math.log10(bounds[1]))
    return [10.0**power for power in range(first, last + 1)]


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


def _line(axes: _Axes, number: int, curve: Series) -> list[str]:
    colour, dash = _COLOURS[number % len(_COLOURS)], "" if number < len(_COLOURS) else "6 4"
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (axes.at(*point) for point in curve.points))
    style = f'stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"'
    y = _TOP + 20 * number + 8
    x = _WIDTH - _RIGHT + 16
    return [
        f'<polyline points="{points}" fill="none" {style}/>',
        (
            f'<path d="M{x} {y}h24" {style}/>'
            f'<text x="{x + 30}" y="{y + 4}">{escape(curve.name)}</text>'
        ),
    ]
