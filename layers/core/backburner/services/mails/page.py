"""A mail as HTML: one narrow column that mail programs, phones and dark screens show alike.

Styles stand in the elements, as some programs drop those of the head; what must change on a dark
screen has a class as well. Every text is escaped, and names stand in `<bdi>`: one that is written
from right to left turns nothing else around.
"""

from collections.abc import Iterator, Sequence
from html import escape

from backburner.services.mails.report import SHOWN_WHOLE, Link, Report, Tone, number

_FONT = "font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"
_TIMES = "\N{MULTIPLICATION SIGN}"
_COLOURS = {Tone.GOOD: "#1a7f37", Tone.MIXED: "#9a5b00", Tone.BAD: "#b42318"}

_HEAD = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="supported-color-schemes" content="light dark">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; supported-color-schemes: light dark; }}
@media (prefers-color-scheme: dark) {{
  .page {{ background: #14171a !important; }}
  .card {{ background: #1f2428 !important; border-color: #373e47 !important; }}
  .ink {{ color: #e6edf3 !important; }}
  .dim {{ color: #a3adb8 !important; }}
  .line {{ border-color: #373e47 !important; }}
  .link {{ color: #79b8ff !important; }}
  .good {{ color: #56d364 !important; }}
  .mixed {{ color: #f0a35e !important; }}
  .bad {{ color: #ff8a80 !important; }}
  .key {{ background: #2f6feb !important; }}
}}
</style>
</head>
<body class="page" style="margin:0;padding:0;background:#f3f4f6">
<div class="page" style="background:#f3f4f6;padding:16px 8px">
<div style="max-width:560px;margin:0 auto">
"""

_FOOT = """\
<p class="dim" style="{font};font-size:13px;line-height:19px;color:#57606a;margin:16px 12px">
{why}<br><a class="link" href="{unsubscribe_url}" style="color:#0550ae">No more such mails</a>
</p>
</div>
</div>
</body>
</html>
"""


def render(reports: Sequence[Report], *, heading: str, why: str, unsubscribe_url: str) -> str:
    """The page of a mail about one batch, or several."""
    parts = [_HEAD.format(title=escape(heading))]
    if len(reports) > 1:
        parts.append(
            f'<h1 class="ink" style="{_FONT};font-size:20px;line-height:26px;color:#1f2328;'
            f'margin:4px 12px 16px">{escape(heading)}</h1>\n'
        )
    parts += ["".join(_card(report)) for report in reports[:SHOWN_WHOLE]]
    parts += map(_line, reports[SHOWN_WHOLE:])
    parts.append(_FOOT.format(font=_FONT, why=escape(why), unsubscribe_url=escape(unsubscribe_url)))
    return "".join(parts)


def _card(report: Report) -> Iterator[str]:
    yield (
        '<div class="card" style="background:#ffffff;border:1px solid #d8dee4;border-radius:10px;'
        'padding:20px;margin:0 0 12px">\n'
        f'<div class="{report.tone}" style="{_FONT};font-size:14px;line-height:20px;'
        f'font-weight:600;color:{_COLOURS[report.tone]}">{escape(report.outcome)}</div>\n'
        f'<div class="ink" style="{_FONT};font-size:20px;line-height:26px;font-weight:600;'
        f'color:#1f2328;overflow-wrap:anywhere;margin:2px 0 14px"><bdi>{escape(report.name)}</bdi>'
        "</div>\n"
    )
    yield from _rows(report)
    yield from _reasons(report)
    yield from _links(report)
    yield "</div>\n"


def _line(report: Report) -> str:
    return (
        f'<p class="ink" style="{_FONT};font-size:15px;line-height:21px;color:#1f2328;'
        'margin:8px 12px;overflow-wrap:anywhere">'
        f'<a class="link" href="{escape(report.status.url)}" style="color:#0550ae"><bdi>'
        f"{escape(report.subject)}</bdi></a></p>\n"
    )


def _rows(report: Report) -> Iterator[str]:
    yield (
        '<table role="presentation" cellpadding="0" cellspacing="0" style="border-collapse:'
        'collapse;width:100%">\n'
    )
    for label, value in report.rows:
        yield (
            f'<tr><td class="dim line" style="{_FONT};font-size:15px;line-height:21px;'
            "color:#57606a;padding:7px 12px 7px 0;border-top:1px solid #eaeef2;"
            f'vertical-align:top;white-space:nowrap">{escape(label)}</td>'
            f'<td class="ink line" style="{_FONT};font-size:15px;line-height:21px;color:#1f2328;'
            "padding:7px 0;border-top:1px solid #eaeef2;text-align:right;"
            f'overflow-wrap:anywhere">{escape(value)}</td></tr>\n'
        )
    yield "</table>\n"


def _reasons(report: Report) -> Iterator[str]:
    if not report.reasons:
        return
    yield (
        f'<div class="ink" style="{_FONT};font-size:15px;line-height:21px;font-weight:600;'
        'color:#1f2328;margin:16px 0 4px">Why requests failed</div>\n'
    )
    for one in report.reasons:
        yield (
            f'<div class="ink" style="{_FONT};font-size:15px;line-height:21px;color:#1f2328;'
            f'padding:2px 0">{number(one.count)} {_TIMES} {escape(one.words)} '
            f'<span class="dim" style="color:#57606a">({escape(one.code)})</span></div>\n'
        )


def _links(report: Report) -> Iterator[str]:
    if report.files:
        yield '<div style="margin:18px 0 0">\n'
        yield from map(_button, report.files)
        yield (
            f'</div>\n<div class="dim" style="{_FONT};font-size:13px;line-height:19px;'
            f'color:#57606a;margin:2px 0 0">Until {escape(report.expires)}, whoever has these '
            "links can read the files.</div>\n"
        )
    status = report.status
    yield (
        f'<div style="{_FONT};font-size:14px;line-height:20px;margin:12px 0 0">'
        f'<a class="link" href="{escape(status.url)}" style="color:#0550ae">{escape(status.label)}'
        '</a> <span class="dim" style="color:#57606a">(needs an API key)</span></div>\n'
    )


def _button(link: Link) -> str:
    return (
        f'<a class="key" href="{escape(link.url)}" style="{_FONT};display:inline-block;'
        "background:#0969da;color:#ffffff;text-decoration:none;font-size:15px;line-height:20px;"
        f'font-weight:600;padding:11px 18px;border-radius:8px;margin:0 8px 8px 0">'
        f"{escape(link.label)}</a>\n"
    )
