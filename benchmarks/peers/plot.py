"""The plot of the results: an SVG that can be read on light and on dark pages."""

import math
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path

from benchmarks.peers.results import Row
from benchmarks.peers.roster import PEERS, Peer

FILE = Path(__file__).parents[2] / "docs" / "images" / "peers.svg"

_STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #4b5563; }
.title { font-weight: 600; }
.small { font-size: 11px; }
.ours { font-weight: 600; fill: #0b62c4; }
.grid { stroke: #9ca3af; stroke-opacity: .35; }
.stem { stroke: #9ca3af; stroke-width: 2; }
.dot { fill: #6b7280; }
.floor { fill: none; stroke: #6b7280; stroke-width: 2; }
.dot-ours { fill: #1f7ae0; }
.stranded { fill: #d9922b; }
.lost { fill: #d1433f; }
.twice { fill: #7a6bd1; }
@media (prefers-color-scheme: dark) {
  text { fill: #b3bcc7; }
  .ours { fill: #6cb0ff; }
  .dot { fill: #9aa4b0; }
  .floor { stroke: #9aa4b0; }
}
"""

_ROW, _TOP, _LEFT = 26, 62, 215
#: Results a second, on a logarithmic scale.
_RATES_AT, _RATES_WIDTH, _DECADES = _LEFT + 10, 280, (1, 2, 3, 4, 5)
#: Jobs that a kill left behind.
_JOBS_AT, _JOBS_WIDTH = 575, 190
_WIDTH = 880

_KINDS = {"stranded": "stranded", "lost": "lost", "twice": "run twice"}


def render(rows: Mapping[str, Row]) -> str:
    """The image."""
    known = [
        (peer, rows[peer.name]) for peer in PEERS if peer.name in rows and rows[peer.name].rounds
    ]
    height = _TOP + _ROW * len(known) + 40
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        'aria-label="Results a second of each queue, and jobs left behind by a kill">',
        f"<style>{_STYLE}</style>",
        _text(_RATES_AT, 20, "results a second (log scale)", "title"),
        _text(_JOBS_AT, 20, "accepted jobs, a minute after kill -9", "title"),
        *_legend(),
        *_grid(height),
        *_rows(known),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _legend() -> Iterator[str]:
    x = _JOBS_AT
    for name, label in _KINDS.items():
        yield f'<rect class="{name}" x="{x}" y="32" width="10" height="10" rx="2"/>'
        yield _text(x + 15, 41, label, "small")
        x += 30 + 7 * len(label)


def _grid(height: int) -> Iterator[str]:
    for decade in _DECADES:
        x = _rate_x(10**decade)
        yield f'<line class="grid" x1="{x:.0f}" y1="{_TOP - 8}" x2="{x:.0f}" y2="{height - 34}"/>'
        yield _text(x, height - 16, f"{10**decade:,}", "small", anchor="middle")


def _rows(known: list[tuple[Peer, Row]]) -> Iterator[str]:
    for place, (peer, row) in enumerate(known):
        y = _TOP + _ROW * place + _ROW / 2
        title = peer.title.replace("**", "")
        is_ours = peer.name.startswith("backburner")
        yield _text(_LEFT, y + 4, title, "ours" if is_ours else "", anchor="end")
        yield from _rate(peer, row, y, is_ours=is_ours)
        if row.crashes:
            yield from _left_behind(row, y)


def _rate(peer: Peer, row: Row, y: float, *, is_ours: bool) -> Iterator[str]:
    rate = row.median(lambda one: one["end_rate"])
    if rate is None:
        return
    kind = "dot-ours" if is_ours else "floor" if peer.is_floor else "dot"
    x = _rate_x(rate)
    yield f'<line class="stem" x1="{_RATES_AT}" y1="{y}" x2="{x - 5:.1f}" y2="{y}"/>'
    yield f'<circle class="{kind}" cx="{x:.1f}" cy="{y}" r="5"/>'
    yield _text(x + 11, y + 4, f"{rate:,.0f}", "ours small" if is_ours else "small")


def _left_behind(row: Row, y: float) -> Iterator[str]:
    x, jobs = float(_JOBS_AT), row.crashed("jobs")
    counts = {name: row.crashed(name) for name in _KINDS}
    for name, count in counts.items():
        if count:
            width = max(3.0, count / jobs * _JOBS_WIDTH)
            yield f'<rect class="{name}" x="{x:.1f}" y="{y - 6}" width="{width:.1f}" height="12"/>'
            x += width
    words = [f"{count} {_KINDS[name]}" for name, count in counts.items() if count]
    label = f"of {jobs}: {', '.join(words)}" if words else f"all {jobs} finished, once"
    yield _text(x + (6 if words else 0), y + 4, label, "small")


def _rate_x(rate: float) -> float:
    first, last = _DECADES[0], _DECADES[-1]
    share = (math.log10(max(rate, 10**first)) - first) / (last - first)
    return _RATES_AT + share * _RATES_WIDTH


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return (
        f'<text class="{kind}" x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(text)}</text>'
    )
