"""`backburner mail` on the data of a stack that need not run."""

import json
import time

import pytest
from click.testing import CliRunner

from backburner.domain.mailing import Cause
from backburner.services import mailing
from backburner_local import cli
from backburner_local.adapters.recent import SECONDS
from backburner_local.options import Options
from backburner_local.stack import declaration
from backburner_local.world import LocalWorld

ADA = "ada@example.com"


@pytest.fixture
def world(tmp_path):
    options = Options(data_dir=tmp_path, durable=False)
    world = LocalWorld.open(options, declaration(options))
    yield world
    world.close()


@pytest.fixture
def ask(world, tmp_path):
    def ask(*arguments: str, exit_code: int = 0) -> str:
        result = CliRunner().invoke(cli.main, ["mail", *arguments, "--data-dir", str(tmp_path)])
        assert result.exit_code == exit_code, result.output
        return result.output

    return ask


def test_a_tenants_mails_are_turned_off_and_on(ask):
    assert "mails    on" in ask("show", "--tenant", "acme")
    assert "mails    off" in ask("set", "--tenant", "acme", "--off")
    assert "mails    on" in ask("show", "--tenant", "globex")
    assert "mails    on" in ask("set", "--tenant", "acme", "--on")


def test_what_is_not_given_stays(ask):
    ask("set", "--tenant", "acme", "--digest", "hourly")
    ask("set", "--tenant", "acme", "--address", ADA)
    told = json.loads(ask("show", "--tenant", "acme", "--json"))
    assert told == {"enabled": True, "digest": "hourly", "address": ADA}
    assert "address  nobody" in ask("set", "--tenant", "acme", "--address", "")
    assert "one email address" in ask("set", "--tenant", "acme", "--address", "nobody", exit_code=2)


def test_addresses_are_listed_and_allowed_again(world, ask):
    mailing.suppress(world.env, ADA, Cause.BOUNCED)
    mailing.suppress(world.env, "bob@example.com", Cause.UNSUBSCRIBED, tenant="acme")
    assert json.loads(ask("suppressed", "--json")) == [{"address": ADA, "cause": "bounced"}]
    assert "bob@example.com" in ask("suppressed", "--tenant", "acme")
    assert "gets mails again" in ask("allow", "Ada@example.com")
    assert "already" in ask("allow", ADA, exit_code=2)
    assert "gets mails again" in ask("allow", "bob@example.com", "--tenant", "acme")
    time.sleep(SECONDS)  # the command is as another process: what it wrote may be unseen so long
    mailing.check(world.env, "acme", ADA)
    mailing.check(world.env, "acme", "bob@example.com")
