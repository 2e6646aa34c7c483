"""Put a mail together: about one batch, or about all that ended within an hour."""

from collections.abc import Sequence

from backburner.domain.batch import Batch
from backburner.domain.delivery import Delivery
from backburner.ports import Environment, Mail
from backburner.services import links
from backburner.services.mails import page, report, text


def compose(env: Environment, told: Delivery, batches: Sequence[Batch]) -> Mail:
    """The mail to the delivery's address; the same on every attempt."""
    reports = [report.of(env, batch, told) for batch in batches]
    subject, heading = _heading(reports)
    url = links.to_unsubscribe(env, told.tenant, told.target)
    about = {
        "heading": heading,
        "why": f"You get this mail because {told.tenant} has {told.target} told of its batches.",
        "unsubscribe_url": url,
    }
    return Mail(
        to=told.target,
        subject=subject,
        text=text.render(reports, **about),
        html=page.render(reports, **about),
        message_id=told.event_id,
        unsubscribe_url=url,
    )


def _heading(reports: Sequence[report.Report]) -> tuple[str, str]:
    """Subject, and what stands over the mail."""
    if len(reports) == 1:
        return reports[0].subject, reports[0].title
    good = sum(one.tone is report.Tone.GOOD for one in reports)
    heading = f"{report.number(len(reports))} batches ended"
    how = "all completed" if good == len(reports) else f"{report.number(good)} without failures"
    return f"{heading} ({how})", heading
