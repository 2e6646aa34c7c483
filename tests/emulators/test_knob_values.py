"""Knobs can be given as text, and wrong ones are refused with their name."""

import pytest

from backburner_local.emulators.bedrock.knobs import Knobs
from backburner_local.emulators.knob_values import BadKnob, parse


def test_values_are_json_or_text():
    given = [
        "min_records=5",
        "fail_records_percent=2",
        'foreign_jobs={"m": 3}',
        "stop_again_code=ConflictException",
        "unique_job_names=true",
        "job_failure=It broke.",
    ]
    assert Knobs(**parse(given, Knobs)) == Knobs(
        min_records=5,
        fail_records_percent=2.0,
        foreign_jobs={"m": 3},
        stop_again_code="ConflictException",
        unique_job_names=True,
        job_failure="It broke.",
    )


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("nonsense=1", "There is no knob 'nonsense'"),
        ("min_records=many", "'min_records' can't be 'many'"),
        ("stop_again_code=Other", "'stop_again_code' can't be 'Other'"),
        ("min_records", "'min_records' can't be ''"),
    ],
)
def test_what_is_no_knob_or_no_value_of_one_is_refused(given, complaint):
    with pytest.raises(BadKnob, match=complaint):
        parse([given], Knobs)
