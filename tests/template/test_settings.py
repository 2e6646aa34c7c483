"""Settings: what the functions read is what the template gives them."""

from dataclasses import MISSING, fields
from typing import Any

import pytest

from backburner.settings import MissingSetting, Settings
from tests.template.expand import expanded
from tests.template.resolved import TEMPLATE, of_type


@pytest.mark.parametrize("name", TEMPLATE.of_type("AWS::Serverless::Function"))
def test_a_functions_variables_are_its_settings(name):
    variables = set(variables_of(name))
    settings = {field.name.upper() for field in fields(Settings)}
    # The API's own URL would make its function refer to itself; links are in mails alone.
    assert variables == settings - (set() if name == "DeliverFunction" else {"PUBLIC_URL"})


def test_numbers_come_from_parameters_that_are_numbers():
    parameters = expanded()["Parameters"]
    for field in fields(Settings):
        given = variables_of("DeliverFunction")[field.name.upper()]
        kind = parameters.get(given.get("Ref"), {}).get("Type")
        assert (kind == "Number") == (field.type is int), field.name


def test_a_missing_variable_is_named():
    required = [f.name.upper() for f in fields(Settings) if f.default is MISSING]
    for name in required:
        with pytest.raises(MissingSetting, match=name):
            Settings.from_environment({other: "x" for other in required if other != name})


def test_settings_are_read_from_the_environment():
    given = {f.name.upper(): f.name for f in fields(Settings) if f.default is MISSING}
    read = Settings.from_environment(given | {"PUBLIC_URL": "https://api/", "MAX_INSTANCES": "3"})
    assert (read.bucket_name, read.public_url, read.max_instances) == (
        "bucket_name",
        "https://api",
        3,
    )
    assert read.drop_tenant == "default"


def test_an_empty_variable_is_as_good_as_none():
    given = {f.name.upper(): f.name for f in fields(Settings) if f.default is MISSING}
    assert Settings.from_environment(given | {"DROP_TENANT": ""}).drop_tenant == "default"
    with pytest.raises(MissingSetting, match="TABLE_NAME"):
        Settings.from_environment(given | {"TABLE_NAME": ""})


def test_a_number_that_is_none_is_named():
    given = {f.name.upper(): f.name for f in fields(Settings) if f.default is MISSING}
    with pytest.raises(MissingSetting, match="MAX_INSTANCES"):
        Settings.from_environment(given | {"MAX_INSTANCES": "many"})


def variables_of(name: str) -> dict[str, Any]:
    function = of_type("AWS::Lambda::Function")[name]
    variables: dict[str, Any] = function["Environment"]["Variables"]
    return variables
