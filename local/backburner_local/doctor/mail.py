"""Whether SES would send our mails, and receivers believe where they come from."""

from collections.abc import Iterator, Mapping
from typing import Any

from botocore.exceptions import ClientError

from backburner_local.deployed import Account
from backburner_local.doctor.findings import Finding, Patient, Result

_CHECK = "mail"


def check(account: Account, patient: Patient) -> Iterator[Finding]:
    """Check the sender's identity, and whether the account may write to anyone."""
    if not patient.sender:
        detail = "no sender: the stack sends no mail"
        yield Finding(_CHECK, Result.SKIP, detail, "Give --sender to check an address.")
        return
    domain = patient.sender.rpartition("@")[2]
    known = {identity: _look(account, identity) for identity in (patient.sender, domain)}
    yield _identity(account, patient.sender, known)
    yield from _signature(domain, known)
    yield _account(account)


#: What SES says of the identities that it knows; None: it knows none.
_Known = Mapping[str, Mapping[str, Any] | None]


def _identity(account: Account, sender: str, known: _Known) -> Finding:
    """An address may send if it is verified itself, or if its domain is."""
    for identity, found in known.items():
        if found is not None and found.get("VerifiedForSendingStatus"):
            return Finding(_CHECK, Result.OK, f"{identity} may send")
    if known[sender] is None:
        create = f"aws sesv2 create-email-identity --email-identity {sender}"
        advice = f"Verify it: `{create} --region {account.region}`, and click the link in the mail."
        return Finding(_CHECK, Result.FAIL, f"SES does not know {sender}", advice)
    advice = "Click the link in the mail that SES sent there."
    return Finding(_CHECK, Result.FAIL, f"{sender} is not verified yet", advice)


def _signature(domain: str, known: _Known) -> Iterator[Finding]:
    """Without one (DKIM), mails may be taken for spam, and show no button to unsubscribe."""
    told = [
        found["DkimAttributes"] for found in known.values() if found and "DkimAttributes" in found
    ]
    if told and not any(one.get("Status") == "SUCCESS" for one in told):
        create = f"aws sesv2 create-email-identity --email-identity {domain}"
        advice = f"Verify the domain (`{create}`), and put its three CNAME records into the DNS."
        yield Finding(_CHECK, Result.WARN, f"mails of {domain} are not signed (DKIM)", advice)


def _look(account: Account, identity: str) -> Mapping[str, Any] | None:
    """None: SES does not know it."""
    try:
        return dict(account.clients.sesv2.get_email_identity(EmailIdentity=identity))
    except ClientError as error:
        if error.response["Error"]["Code"] == "NotFoundException":
            return None
        raise


def _account(account: Account) -> Finding:
    ses = account.clients.sesv2.get_account()
    if not ses.get("SendingEnabled", True):
        advice = "See the reputation page of the SES console."
        return Finding(_CHECK, Result.FAIL, "the account's sending is paused", advice)
    if ses.get("ProductionAccessEnabled"):
        return Finding(_CHECK, Result.OK, "the account may write to any address")
    return Finding(
        _CHECK,
        Result.WARN,
        f"SES is in its sandbox in {account.region}: only verified addresses get mail",
        "Verify the receivers, or ask for production access in the SES console.",
    )
