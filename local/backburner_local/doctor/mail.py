"""Whether SES would send our mails."""

from collections.abc import Iterator

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
    yield _identity(account, patient.sender)
    yield _account(account)


def _identity(account: Account, sender: str) -> Finding:
    """An address may send if it is verified itself, or if its domain is."""
    identities = (sender, sender.rpartition("@")[2])
    states = {identity: _is_verified(account, identity) for identity in identities}
    for identity, is_verified in states.items():
        if is_verified:
            return Finding(_CHECK, Result.OK, f"{identity} may send")
    if states[sender] is None:
        create = f"aws sesv2 create-email-identity --email-identity {sender}"
        advice = f"Verify it: `{create} --region {account.region}`, and click the link in the mail."
        return Finding(_CHECK, Result.FAIL, f"SES does not know {sender}", advice)
    advice = "Click the link in the mail that SES sent there."
    return Finding(_CHECK, Result.FAIL, f"{sender} is not verified yet", advice)


def _is_verified(account: Account, identity: str) -> bool | None:
    """None: SES does not know it."""
    try:
        answer = account.clients.sesv2.get_email_identity(EmailIdentity=identity)
    except ClientError as error:
        if error.response["Error"]["Code"] == "NotFoundException":
            return None
        raise
    return bool(answer.get("VerifiedForSendingStatus"))


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
