"""The pure rules of alarms, scaling policies, metric math and metric storage, as tables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner_local.emulators.autoscaling import decide
from backburner_local.emulators.cloudwatch import alarms, expressions
from backburner_local.emulators.cloudwatch.store import MetricStore, Series
from backburner_local.emulators.wire import ApiError

POINTS = {"X": True, "0": False, "-": None}
TREATMENTS = ("missing", "ignore", "breaching", "notBreaching")
RETAIN = "the present state"


# The two tables of CloudWatch's documentation, oldest point first: evaluation of 3 points out of
# a range of 5, all 3 needed, then 2 of 3 needed. Columns as TREATMENTS.
@pytest.mark.parametrize(
    ("points", "needed", "states"),
    [
        ("0-X-X", 3, ("OK", "OK", "OK", "OK")),
        ("----0", 3, ("OK", "OK", "OK", "OK")),
        ("-----", 3, ("INSUFFICIENT_DATA", RETAIN, "ALARM", "OK")),
        ("0XX-X", 3, ("ALARM", "ALARM", "ALARM", "ALARM")),
        ("--X--", 3, ("ALARM", RETAIN, "ALARM", "OK")),
        ("0-X-X", 2, ("ALARM", "ALARM", "ALARM", "ALARM")),
        ("00X0X", 2, ("ALARM", "ALARM", "ALARM", "ALARM")),
        ("0-X--", 2, ("OK", "OK", "ALARM", "OK")),
        ("----0", 2, ("OK", "OK", "ALARM", "OK")),
        ("---X-", 2, ("ALARM", RETAIN, "ALARM", "OK")),
    ],
)
@pytest.mark.parametrize("before", ["OK", "ALARM"])
def test_missing_data_are_treated_as_documented(points, needed, states, before):
    newest_first = [POINTS[one] for one in reversed(points)]
    for missing, expected in zip(TREATMENTS, states, strict=True):
        state = alarms.decide(before, newest_first, periods=3, needed=needed, missing=missing)
        assert state == (before if expected == RETAIN else expected), missing


@given(
    points=st.lists(st.sampled_from([True, False, None]), min_size=5, max_size=5),
    needed=st.integers(1, 3),
    missing=st.sampled_from(TREATMENTS),
)
def test_complete_data_decide_whatever_missing_means(points, needed, missing):
    newest = [False if one is None else one for one in points]
    state = alarms.decide("OK", newest, periods=3, needed=needed, missing=missing)
    assert (state == "ALARM") == (sum(newest[:3]) >= needed)


UP = [
    {"MetricIntervalLowerBound": 0, "MetricIntervalUpperBound": 20, "ScalingAdjustment": 1},
    {"MetricIntervalLowerBound": 20, "ScalingAdjustment": 2},
]
DOWN = [{"MetricIntervalUpperBound": 0, "ScalingAdjustment": 0}]


@pytest.mark.parametrize(
    ("steps", "delta", "is_upward", "adjustment"),
    [
        (UP, 0, True, 1),
        (UP, 19.9, True, 1),
        (UP, 20, True, 2),
        (UP, 1e9, True, 2),
        (UP, -1, True, None),
        (DOWN, 0, False, 0),
        (DOWN, -5, False, 0),
        (DOWN, 1, False, None),
        ([], 1, True, None),
    ],
)
def test_a_step_is_chosen_by_how_far_the_metric_is_from_the_threshold(
    steps, delta, is_upward, adjustment
):
    assert decide.step(steps, delta, is_upward=is_upward) == adjustment


@pytest.mark.parametrize(
    ("kind", "capacity", "adjustment", "expected"),
    [
        ("ChangeInCapacity", 1, 2, 3),
        ("ChangeInCapacity", 3, -1, 2),
        ("ExactCapacity", 3, 0, 0),
        ("PercentChangeInCapacity", 10, 25, 12),
        ("PercentChangeInCapacity", 1, 10, 2),
        ("PercentChangeInCapacity", 10, -50, 5),
    ],
)
def test_an_adjustment_is_applied_by_its_type(kind, capacity, adjustment, expected):
    assert decide.adjusted(kind, capacity, adjustment) == expected


@pytest.mark.parametrize(
    ("capacity", "metric", "is_upward", "expected"),
    [
        (1, 20, True, 4),
        (2, 6, True, 3),
        (0, 12, True, 3),
        (4, 2, False, 2),
        (4, 0, False, 0),
        (1, 4, False, 1),
    ],
)
def test_target_tracking_scales_in_proportion(capacity, metric, is_upward, expected):
    assert decide.tracked(capacity, metric, 5, is_upward=is_upward) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("m1 + 1", [2.0, None, 4.0]),
        ("m1 / m2", [None, None, 1.5]),
        ("FILL(m1, 0)", [1.0, 0.0, 3.0]),
        ("FILL(m1, REPEAT)", [1.0, 1.0, 3.0]),
        ("FILL(m1,0) + IF(FILL(m2,0)>0, 5, 0)", [1.0, 0.0, 8.0]),
        ("IF(m1 > 2, m1)", [None, None, 3.0]),
        ("MAX([m1, m2])", [1.0, None, 3.0]),
        ("SUM(m1)", [4.0, 4.0, 4.0]),
        ("-CEIL(m1 / 2)", [-1.0, None, -2.0]),
    ],
)
def test_metric_math(expression, expected):
    metrics = {"m1": [1.0, None, 3.0], "m2": [0.0, None, 2.0]}
    assert expressions.evaluate(expression, metrics, 3) == expected


@pytest.mark.parametrize("expression", ["m1 +", "m9", "SEARCH('x')", "__import__('os')", "m1.x"])
def test_what_metric_math_does_not_know_is_a_validation_error(expression):
    with pytest.raises(ApiError, match=r"expression|Unsupported"):
        expressions.evaluate(expression, {"m1": [1.0]}, 1)


@given(st.lists(st.tuples(st.floats(0, 1000), st.integers(-5, 5)), max_size=60))
def test_statistics_of_a_range_are_those_of_its_values_in_any_order(values):
    series = Series(0.5)
    for at, value in values:
        series.add(value, at)
    inside = [value for at, value in values if 100 <= at < 700]
    found = series.between(100, 700)
    if not inside:
        assert found is None
        return
    assert found is not None
    assert found.value("SampleCount") == len(inside)
    assert found.value("Sum") == sum(inside)
    assert found.value("Minimum") == min(inside)
    assert found.value("Maximum") == max(inside)
    assert found.value("p99") is None


def test_old_data_are_dropped_before_they_fill_the_memory():
    store = MetricStore(1.0)
    series = store.series("N", "m", {})
    for second in range(25_000):
        series.add(1, second)
    assert series.between(0, 3_000) is None
    newest = series.between(24_000, 25_000)
    assert newest is not None
    assert newest.count == 1_000
