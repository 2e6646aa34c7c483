"""A mail as plain text: for those who read no HTML, and for machines."""

from collections.abc import Iterator, Sequence

from backburner.services.mails.report import SHOWN_WHOLE, Link, Report, number

_LABEL_WIDTH = 12


def render(reports: Sequence[Report], *, heading: str, why: str, unsubscribe_url: str) -> str:
    """The text of a mail about one batch, or several."""
    lines = [heading, ""]
    for report in reports[:SHOWN_WHOLE]:
        if len(reports) > 1:
            lines += [report.title, ""]
        lines += [*_body(report), ""]
    for report in reports[SHOWN_WHOLE:]:
        lines += [report.subject, report.status.url, ""]
    lines += ["-- ", why, f"No more such mails: {unsubscribe_url}"]
    return "\n".join(lines) + "\n"


def _body(report: Report) -> Iterator[str]:
    for label, value in report.rows:
        yield _row(label, value)
    if report.reasons:
        yield ""
        yield "Why requests failed:"
        for one in report.reasons:
            yield f"  {number(one.count)} x {one.words} ({one.code})"
    yield ""
    for link in report.files:
        yield from _link(link)
    if report.files:
        yield f"Until {report.expires}, whoever has these links can read the files."
        yield ""
    yield from _link(report.status)
    yield "This one needs an API key."


def _row(label: str, value: str) -> str:
    return f"{label + ':':<{_LABEL_WIDTH}}{value}"


def _link(link: Link) -> Iterator[str]:
    yield f"{link.label}:"
    yield link.url
