"""Looks at what deploying and running need, and says what to do about what is wrong."""

from collections.abc import Callable, Collection, Iterator

from backburner_local import deployed
from backburner_local.deployed import Account, Denied, Deployed, NotReachable
from backburner_local.doctor import jobs, machine, mail, model, quota, scaling, stack
from backburner_local.doctor.findings import Finding, Patient, Result

__all__ = ["Finding", "Patient", "Result", "examine"]

#: Checks of what deploying needs, in the order of a deployment, by what they are about.
_DEPLOYING: dict[str, Callable[[Account, Patient], Iterator[Finding]]] = {
    "quota": quota.check,
    "model": model.check_artifact,
    "image": model.check_image,
    "scaling role": scaling.check_role,
    "mail": mail.check,
    "jobs": jobs.check,
}

#: Checks of a stack that is there.
_RUNNING: dict[str, Callable[[Account, Deployed], Iterator[Finding]]] = {
    "endpoint": stack.check_endpoint,
    "dead letters": stack.check_dead_letters,
    "backlog": stack.check_backlog,
    "alarms": stack.check_alarms,
}

#: Of both, those that only stacks with an endpoint need.
_OF_ENDPOINT = frozenset({"quota", "model", "image", "scaling role", "endpoint"})
_NO_ENDPOINT = "no model of the catalog is behind an endpoint"


def examine(patient: Patient, connect: Callable[[], Account]) -> Iterator[Finding]:
    """Check one thing after another; never raises because of what is checked.

    Args:
        patient: what is to be deployed, or is.
        connect: finds the account; raises NotReachable.
    """
    yield from machine.check()
    try:
        account = connect()
        yield _identity(account)
    except NotReachable as error:
        yield Finding("credentials", Result.FAIL, error.message, "Nothing on AWS was checked.")
        names = [*_DEPLOYING, *(["stack", *_RUNNING] if patient.stack else [])]
        yield from (Finding(name, Result.SKIP, "needs credentials") for name in names)
        return
    found: list[Deployed] = []
    if patient.stack:
        yield from _guarded("stack", lambda: stack.find(account, patient.stack or "", found))
    if found:
        patient = patient.of_stack(found[0])
    patient = patient.with_defaults()
    needless = frozenset() if jobs.needs_endpoint(patient) else _OF_ENDPOINT
    for name, check in _DEPLOYING.items():
        if name in needless:
            yield Finding(name, Result.SKIP, _NO_ENDPOINT)
        else:
            yield from _guarded(name, lambda check=check: check(account, patient))  # type: ignore[misc]
    if patient.stack:
        yield from _running(account, found, needless)


def _running(
    account: Account, found: list[Deployed], needless: Collection[str]
) -> Iterator[Finding]:
    """How the stack does."""
    for name, look in _RUNNING.items():
        if name in needless:
            yield Finding(name, Result.SKIP, _NO_ENDPOINT)
        elif found and not found[0].missing:
            yield from _guarded(name, lambda look=look: look(account, found[0]))  # type: ignore[misc]
        else:
            yield Finding(name, Result.SKIP, "needs the stack and its outputs")


def _identity(account: Account) -> Finding:
    """Credentials are only proved by using them; any identity may ask who it is."""
    with deployed.explained():
        identity = account.clients.other("sts").get_caller_identity()
    who = f"{identity['Arn']} in {account.region}"
    return Finding("credentials", Result.OK, f"account {identity['Account']}, as {who}")


def _guarded(name: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The check's findings; what it may not look at is a warning, what AWS refuses a failure."""
    try:
        with deployed.explained():
            yield from check()
    except Denied as error:
        yield Finding(name, Result.WARN, "could not be checked", error.message)
    except NotReachable as error:
        yield Finding(name, Result.FAIL, error.message)
