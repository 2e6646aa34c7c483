"""Settings: what the functions read is what the template gives them."""

from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from backburner.settings import MissingSetting, Settings
from backburner_local import template

ROOT = Path(__file__).parents[2]


def test_every_setting_is_a_variable_of_the_template():
    variables = template.load(ROOT / "template.yaml").variables
    unset = {"PUBLIC_URL"}  # the API's own URL would make the template circular
    assert {field.name.upper() for field in fields(Settings)} - unset <= set(variables)


def test_a_missing_variable_is_named():
    required = [f.name.upper() for f in fields(Settings) if f.default is MISSING]
    for name in required:
        with pytest.raises(MissingSetting, match=name):
            Settings.from_environment({other: "x" for other in required if other != name})


def test_settings_are_read_from_the_environment():
    read = Settings.from_environment({"BUCKET_NAME": "b", "PUBLIC_URL": "https://api/"})
    assert (read.bucket_name, read.public_url, read.drop_tenant) == ("b", "https://api", "default")
