"""A tenant's webhook endpoints: made, changed and tried out; and what is posted to them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from backburner.domain import webhook
from backburner.domain.delivery import is_address
from backburner.domain.errors import Conflict, InvalidRequest, Undelivered
from backburner.domain.targets import to_target
from backburner.domain.webhook import Endpoint, Hooks
from backburner.ports import Absent, Environment, HookAnswer, Is, Put, Write
from backburner.services import records
from backburner.services.once import Note

#: Looks at what may be changing.
_TRIES = 10


def load(env: Environment, tenant: str) -> Hooks:
    (item,) = env.store.get(records.hooks_key(tenant))
    return records.to_hooks(item)


def find(env: Environment, tenant: str, endpoint_id: str) -> Endpoint:
    """Raises NotFound."""
    return load(env, tenant).find(endpoint_id)


def create(
    env: Environment, tenant: str, given: Mapping[str, Any], *, note: Note | None = None
) -> Endpoint:
    """Make an endpoint; its secret is in what is returned.

    Args:
        env: the world.
        tenant: whose it is.
        given: name, url, event_types and perhaps x_notify_email.
        note: written with it, so that what it names is made only once.

    Raises:
        Conflict: the note was there before.
        InvalidRequest: a field is wrong, or there are as many as there may be.
    """
    now = env.clock.now()
    made = Endpoint(
        id=env.ids.new("we"),
        created_at=now,
        updated_at=now,
        secrets=(webhook.new_secret(env.ids.secret()),),
        **_checked(env, dict.fromkeys(("name", "url", "event_types")) | dict(given)),
    )

    def add(hooks: Hooks) -> Hooks:
        if len(hooks.endpoints) >= webhook.MOST_ENDPOINTS:
            raise InvalidRequest(f"There are at most {webhook.MOST_ENDPOINTS} webhook endpoints.")
        return replace(hooks, endpoints=(*hooks.endpoints, made))

    change(env, tenant, add, beside=lambda _: [note(made)] if note is not None else [])
    return made


def update(env: Environment, tenant: str, endpoint_id: str, given: Mapping[str, Any]) -> Endpoint:
    """Change what is given; an endpoint that was disabled is told again from now on.

    Raises:
        InvalidRequest: a field is wrong.
        NotFound: the tenant has no such endpoint.
    """
    now = env.clock.now()
    checked = _checked(env, given)

    def changed(hooks: Hooks) -> Hooks:
        seen = hooks.find(endpoint_id)
        new = replace(seen, **checked, dead_in_a_row=0, disabled_at=None, disabled_reason=None)
        return hooks.having(seen if new == seen else replace(new, updated_at=now))

    return change(env, tenant, changed).find(endpoint_id)


def delete(env: Environment, tenant: str, endpoint_id: str) -> None:
    """Forget an endpoint; what it was not told yet it will not be. Raises NotFound."""

    def remove(hooks: Hooks) -> Hooks:
        gone = hooks.find(endpoint_id)
        return replace(hooks, endpoints=tuple(one for one in hooks.endpoints if one != gone))

    change(env, tenant, remove)


def rotate(
    env: Environment, tenant: str, endpoint_id: str, *, keeps_old: bool, note: Note | None = None
) -> Endpoint:
    """Give an endpoint a new secret; raises NotFound, or Conflict if the note was there before.

    Args:
        env: the world.
        tenant: whose it is.
        endpoint_id: of the endpoint.
        keeps_old: whether the old one signs too for a day.
        note: written with it, so that what it names is done only once.
    """
    new, now = webhook.new_secret(env.ids.secret()), env.clock.now()

    def changed(hooks: Hooks) -> Hooks:
        seen = hooks.find(endpoint_id)
        secrets = webhook.rotated(seen.secrets, new, now=now, keeps_old=keeps_old)
        return hooks.having(replace(seen, secrets=secrets, updated_at=now))

    def noted(hooks: Hooks) -> list[Write]:
        return [note(hooks.find(endpoint_id))] if note is not None else []

    return change(env, tenant, changed, beside=noted).find(endpoint_id)


def rotate_callback_secret(env: Environment, tenant: str, *, keeps_old: bool) -> webhook.Secret:
    """Make, or replace, what deliveries to callback URLs are signed with."""
    new, now = webhook.new_secret(env.ids.secret()), env.clock.now()

    def changed(hooks: Hooks) -> Hooks:
        secrets = webhook.rotated(hooks.callback_secrets, new, now=now, keeps_old=keeps_old)
        return replace(hooks, callback_secrets=secrets)

    return change(env, tenant, changed).callback_secrets[0]


def check_callback(env: Environment, tenant: str, url: Any) -> str | None:
    """The URL that a batch names itself; raises InvalidRequest. None: it names none."""
    if url is None:
        return None
    to_target(url, may_be_local=env.webhooks.may_be_local, param="callback_url")
    if not load(env, tenant).callback_secrets:
        raise InvalidRequest(
            "'callback_url' needs a secret to sign with: POST /v1/x-callback-secret makes one.",
            param="callback_url",
            code="no_callback_secret",
        )
    return str(url)


def test(env: Environment, tenant: str, endpoint_id: str, kind: str) -> HookAnswer:
    """Send an endpoint a sample event now, disabled or not.

    Raises:
        InvalidRequest: nobody answered.
        NotFound: the tenant has no such endpoint.
    """
    endpoint = find(env, tenant, endpoint_id)
    noun = kind.partition(".")[0]
    event = {
        "object": "event",
        "id": env.ids.new("evt"),
        "type": kind,
        "created_at": int(env.clock.now()),
        "data": {"id": f"{_TESTED.get(noun, noun)}_test"},
    }
    try:
        return post(env, endpoint.url, event, endpoint.secrets)
    except Undelivered as error:
        raise InvalidRequest(f"The endpoint could not be told. {error.message}") from error


#: What ids of some kinds begin with.
_TESTED = {"response": "resp"}


def post(
    env: Environment, url: str, event: Mapping[str, Any], secrets: Sequence[webhook.Secret]
) -> HookAnswer:
    """One signed attempt; raises Undelivered if nobody answered."""
    body = msgspec.json.encode(event)
    signed = webhook.headers(str(event["id"]), body, tuple(secrets), now=env.clock.now())
    return env.webhooks.post(url, signed, body)


# ---------------------------------------------------------------- checks and writes


def _checked(env: Environment, given: Mapping[str, Any]) -> dict[str, Any]:
    """What is given of an endpoint; raises InvalidRequest."""
    found: dict[str, Any] = {}
    if "name" in given:
        found["name"] = webhook.checked_name(given["name"])
    if "url" in given:
        to_target(given["url"], may_be_local=env.webhooks.may_be_local)
        found["url"] = given["url"]
    if "event_types" in given:
        found["event_types"] = webhook.checked_event_types(given["event_types"])
    if "x_notify_email" in given:
        found["notify_email"] = _checked_address(given["x_notify_email"])
    return found


def _checked_address(given: Any) -> str | None:
    if given is None:
        return None
    if not isinstance(given, str) or not is_address(given):
        raise InvalidRequest("'x_notify_email' must be one email address.", param="x_notify_email")
    return given


def change(
    env: Environment,
    tenant: str,
    make: Callable[[Hooks], Hooks],
    *,
    beside: Callable[[Hooks], list[Write]] = lambda _: [],
) -> Hooks:
    """Change a tenant's webhooks as they are seen, together with what depends on them then.

    Raises:
        Conflict: a write beside it did not hold, or they keep changing.
    """
    for tries_left in reversed(range(_TRIES)):
        seen = load(env, tenant)
        changed = make(seen)
        if changed == seen:
            return seen
        changed = replace(changed, version=seen.version + 1)
        when = Is("version", seen.version) if seen.version else Absent()
        put = Put(records.hooks_key(tenant), records.hooks_item(changed), when=(when,))
        try:
            env.store.transact(put, *beside(changed))
        except Conflict:
            if not tries_left or load(env, tenant).version == seen.version:
                raise
        else:
            return changed
    raise AssertionError("not reached")
