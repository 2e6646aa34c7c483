"""What a batch needs next, as a table."""

import pytest

from backburner.domain.batch import (
    BatchStatus,
    Step,
    StopReason,
    next_step,
)
from tests.domain.values import batch

V, P, F = BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS, BatchStatus.FINALIZING


@pytest.mark.parametrize(
    ("found", "now", "step"),
    [
        (batch(V), 0, Step.PLAN),
        (batch(V), 100, Step.STOP_EXPIRED),
        (batch(V, open_shards=0), 0, Step.PLAN),
        (batch(), 99.9, Step.WAIT),
        (batch(), 100, Step.STOP_EXPIRED),
        (batch(open_shards=9, completed=10), 0, Step.RELEASE),
        (batch(open_shards=9, completed=6, failed=4), 0, Step.RELEASE),
        (batch(open_shards=9, completed=5, failed=5), 0, Step.STOP_CANARY),
        (batch(open_shards=9, failed=10), 0, Step.STOP_CANARY),
        (batch(open_shards=9, completed=9, failed=51, skipped=50), 0, Step.RELEASE),
        (batch(open_shards=9, failed=50, skipped=50), 0, Step.RELEASE),
        (batch(open_shards=9, completed=5, failed=15, skipped=10), 0, Step.STOP_CANARY),
        (batch(open_shards=9, completed=7, failed=5, skipped=2), 0, Step.RELEASE),
        (batch(open_shards=9, failed=1), 0, Step.STOP_CANARY),
        (batch(open_shards=9, failed=10), 100, Step.STOP_EXPIRED),
        (batch(open_shards=9, failed=10, is_released=True), 0, Step.WAIT),
        (batch(is_released=True), 0, Step.WAIT),
        (batch(open_shards=0, is_released=True), 0, Step.FINALIZE),
        (batch(open_shards=0, is_released=True), 100, Step.FINALIZE),
        (batch(open_shards=0, planned_shards=0, is_released=True), 0, Step.FINALIZE),
        (batch(open_shards=9, completed=10, paused=True), 0, Step.WAIT),
        (batch(open_shards=9, failed=10, paused=True), 0, Step.STOP_CANARY),
        (batch(V, paused=True), 0, Step.PLAN),
        (batch(max_tokens=10, input_tokens=4, output_tokens=5), 0, Step.WAIT),
        (batch(max_tokens=10, input_tokens=4, output_tokens=6), 0, Step.STOP_BUDGET),
        (batch(max_cost_nanos=10, cost_nanos=10, paused=True), 0, Step.STOP_BUDGET),
        (batch(max_tokens=1, input_tokens=1, open_shards=0), 0, Step.FINALIZE),
        (batch(max_tokens=1, input_tokens=1), 100, Step.STOP_EXPIRED),
        (batch(max_tokens=1, input_tokens=1, stopping=StopReason.BUDGET), 0, Step.DRAIN),
        (batch(paused=True, paused_shards=2), 0, Step.WAIT),
        (batch(paused=True, paused_shards=2), 100, Step.STOP_EXPIRED),
        (batch(paused_shards=2), 0, Step.REQUEUE),
        (batch(paused_shards=2, open_shards=9, completed=10), 0, Step.REQUEUE),
        (batch(open_shards=0, paused=True), 0, Step.FINALIZE),
        (batch(stopping=StopReason.CANCELLED, paused=True, paused_shards=2), 0, Step.DRAIN),
        (batch(stopping=StopReason.EXPIRED), 200, Step.DRAIN),
        (batch(stopping=StopReason.CANARY, open_shards=9), 0, Step.DRAIN),
        (batch(stopping=StopReason.EXPIRED, open_shards=0), 200, Step.FINALIZE),
        (batch(BatchStatus.CANCELLING, stopping=StopReason.CANCELLED), 0, Step.DRAIN),
        (batch(BatchStatus.CANCELLING, stopping=StopReason.CANCELLED), 200, Step.DRAIN),
        (
            batch(BatchStatus.CANCELLING, stopping=StopReason.CANCELLED, open_shards=0),
            0,
            Step.FINALIZE,
        ),
        (batch(F, open_shards=0), 0, Step.FINALIZE),
        (batch(F, open_shards=0), 200, Step.FINALIZE),
        *((batch(end), 200, Step.WAIT) for end in ("completed", "failed", "expired", "cancelled")),
    ],
)
def test_each_state_of_a_batch_has_its_next_step(found, now, step):
    assert next_step(found, now=now, canary_threshold=0.5) is step


@pytest.mark.parametrize(
    ("threshold", "failed", "step"),
    [
        (0.1, 1, Step.STOP_CANARY),
        (0.2, 1, Step.RELEASE),
        (1.0, 9, Step.RELEASE),
        (1.0, 10, Step.STOP_CANARY),
    ],
)
def test_the_canarys_threshold_is_a_share_of_what_ran(threshold, failed, step):
    found = batch(open_shards=9, completed=10 - failed, failed=failed)
    assert next_step(found, now=0, canary_threshold=threshold) is step


def test_a_batch_has_ended_when_it_reached_its_terminal_state():
    assert batch().ended_at is None
    assert batch(BatchStatus.EXPIRED, expired_at=5.0).ended_at == 5.0
