"""The how-to pages name only what is in the template, and explain all that it asks for."""

import re
from pathlib import Path

import click
import pytest

from backburner_local import template
from backburner_local.cli import main
from backburner_local.emulators.sagemaker.knobs import Knobs
from backburner_local.emulators.sagemaker.transform.knobs import TransformKnobs
from tests.live.questions import NOT_MEASURED, QUESTIONS

ROOT = Path(__file__).parents[2]
HOWTO = sorted((ROOT / "docs/howto").glob("*.md"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

#: Names of AWS's own, and of browsers', that look like ours.
OF_AWS = {
    *("AllTraffic", "AsyncInferenceConfig", "DesiredInstanceCount", "InsufficientInstanceCapacity"),
    *("GetObject", "InvokeModel", "PutObject", "ServiceQuotaExceededException"),
    *("AlgorithmError", "CapacityError", "ClientError", "ModelDataUrl", "ResourceLimitExceeded"),
    *("CodeUri", "EndedInQueue", "EventSource", "FilterPolicy", "OnBatch", "RawMessageDelivery"),
    "SqsSubscription",
    "OpenAI",
    *("MaxConcurrentInvocationsPerInstance", "MinCapacity", "PermissionsBoundary"),
    *("RequestTTLSeconds", "RetainAllVariantProperties", "S3FailurePath", "S3OutputPath"),
    *("UpdateEndpointWeightsAndCapacities", "VariantName"),
}


TEMPLATE = template.parse(ROOT / "template.yaml")


def metrics() -> set[str]:
    """Names of our own metrics, as the alarms and the dashboard have them."""
    text = (ROOT / "template.yaml").read_text(encoding="utf-8")
    plain = re.findall(r"Namespace: Backburner\n\s+MetricName: (\w+)", text)
    return {*plain, *re.findall(r'\["Backburner", "(\w+)"', text)}


def names_in(page: Path) -> set[str]:
    """CamelCase words in code, in `<…>`, and before `=`."""
    text = page.read_text(encoding="utf-8")
    code = re.findall(r"`([^`\n]+)`", text) + re.findall(r"^```.*?^```", text, re.M | re.S)
    words = {word for part in code for word in re.findall(r"(?<![\w:/.-])[A-Za-z0-9]+", part)}
    return {word for word in words if re.fullmatch(r"(?!AWS)[A-Z]\w*[a-z0-9][A-Z]\w*", word)}


@pytest.mark.parametrize(
    "page", [page for page in HOWTO if "emulate" not in page.name], ids=lambda page: page.name
)
def test_every_name_on_a_page_is_in_the_template(page):
    there = {*TEMPLATE["Parameters"], *TEMPLATE["Outputs"], *TEMPLATE["Resources"]}
    assert names_in(page) - there - metrics() - OF_AWS == set()


def commands_in(page: Path) -> list[list[str]]:
    """What pages tell to run of our own command: its words after `backburner`."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    code = re.findall(r"`([^`\n]+)`", text) + re.findall(r"^```\n(.*?)^```", text, re.M | re.S)
    lines = [line for part in code for line in part.splitlines()]
    found = [re.match(r"(?:\.venv/bin/)?backburner (.+)", line.strip()) for line in lines]
    return [one[1].partition("#")[0].split() for one in found if one]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_ours_and_its_options_exist(page):
    for words in commands_in(page):
        command: click.Command = main
        while isinstance(command, click.Group):
            found = command.get_command(click.Context(command), words[0])
            assert found is not None, " ".join(words)
            command = found
            words.pop(0)
            if not words:
                break
        options = {option for parameter in command.params for option in parameter.opts}
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert given <= options, f"{command.name} has no {given - options}"


def test_every_parameter_is_explained_with_its_default():
    page = (ROOT / "docs/howto/deploy.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `(\w+)` \| `?([^|`]+?)`? \|", page, re.MULTILINE))
    defaults = {name: str(one.get("Default", "")) for name, one in TEMPLATE["Parameters"].items()}
    assert told == {name: default or "empty" for name, default in defaults.items()}


def test_every_alarm_is_explained():
    page = (ROOT / "docs/howto/operate.md").read_text(encoding="utf-8")
    alarms = {
        name
        for name, one in TEMPLATE["Resources"].items()
        if one["Type"] == "AWS::CloudWatch::Alarm"
    }
    assert {name for name in alarms if f"`{name}`" not in page} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_heading_finds_it(page):
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text(encoding="utf-8")):
        text = (page.parent / target if target else page).read_text(encoding="utf-8")
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        assert anchor in {slug(heading) for heading in headings}, f"{target}#{anchor}"


def slug(heading: str) -> str:
    """As GitHub makes it of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_knob_that_a_real_account_could_settle_is_a_question():
    asked = {question.knob for question in QUESTIONS}
    unknown = {
        *("default_concurrency", "backlog_includes_inflight", "backlog_per_instance_at_zero"),
        *("processed_metric_name", "on_instance_loss", "failure_key", "failure_key_suffix"),
        *("failure_location_in", "notify_expired", "test_notifications"),
    }
    assert unknown == asked - {None}
    assert unknown <= set(Knobs.__slots__)


def test_every_doubt_about_transform_jobs_is_named():
    """All other knobs are times, or faults."""
    unknown = {"stopped_job_keeps", "retries_refused", "event_times"}
    named = {name for name in TransformKnobs.__slots__ if f"`{name}`" in "".join(NOT_MEASURED)}
    assert named == unknown
    rest = (
        set(TransformKnobs.__slots__) - unknown - {"failed_starts_allowed", "kept_jobs", "quotas"}
    )
    assert {name for name in rest if not name.endswith(("_seconds", "_every_nth"))} == set()
