"""Keys on one machine: the development key is made, kept, and gone once it is revoked."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from backburner.domain.errors import Unauthenticated
from backburner.services import keys
from backburner_local import cli
from backburner_local.options import Options
from backburner_local.stack import declaration, stored
from backburner_local.world import LocalWorld, ensure_dev_key


def start(data_dir: Path) -> str:
    """What a stack does to the keys when it starts."""
    options = Options(data_dir=data_dir, durable=False)
    world = LocalWorld.open(options, declaration(options))
    ensure_dev_key(world.env, data_dir / "dev.key")
    world.close()
    return (data_dir / "dev.key").read_text().strip()


def run(*arguments: str) -> str:
    result = CliRunner().invoke(cli.main, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def test_the_development_key_stays_over_restarts(tmp_path):
    first = start(tmp_path)
    assert start(tmp_path) == first
    with stored(tmp_path) as env:
        assert keys.authenticate(env, first).tenant == "default"


def test_a_revoked_development_key_never_comes_back(tmp_path):
    secret = start(tmp_path)
    output = run("keys", "revoke", secret[:8], "--data-dir", str(tmp_path))
    assert "next `backburner up` makes another" in output
    run("keys", "list", "--data-dir", str(tmp_path))
    another = start(tmp_path)
    assert another != secret
    with stored(tmp_path) as env:
        with pytest.raises(Unauthenticated):
            keys.authenticate(env, secret)
        assert keys.authenticate(env, another).tenant == "default"


def test_a_key_opens_its_tenant_alone_until_it_is_revoked(tmp_path):
    start(tmp_path)
    secret = run("keys", "create", "--tenant", "acme", "--data-dir", str(tmp_path)).splitlines()[0]
    with stored(tmp_path) as env:
        assert keys.authenticate(env, secret).tenant == "acme"
    output = run("keys", "revoke", secret[:8], "--data-dir", str(tmp_path))
    assert "forget it within 1 s" in output  # a stack that runs here
    with stored(tmp_path) as env, pytest.raises(Unauthenticated):
        keys.authenticate(env, secret)
