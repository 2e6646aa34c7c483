"""Whatever clients, the backend, the network and crashes do: the design's promises hold.

A random walk over the real handlers. Every step is checked; at the end all timers run out, the
backend is well, and the oracle judges everything. `HYPOTHESIS_PROFILE=long` walks further.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from backburner.domain.errors import BackburnerError, BackendError, BackendRefused, BackendThrottled
from backburner.ports import QueueName
from backburner.services import batches, files, pausing
from tests import oracle
from tests.backend import REPLIES, by_name, succeed
from tests.effort import IS_LONG, tried
from tests.tap import Crash, PortError, fault_at
from tests.world import LIMITS, MemoryWorld, chat, jsonl

#: Each costs minutes until its work is seen again; the promise has 15 of them.
MOST_FAULTS = 6

WALK_LIMITS = LIMITS.__class__(
    canary_lines=2,
    canary_from_lines=7,
    inline_bytes=700,
    tenant_share=0.5,
    request_ttl_seconds=60,
    invocation_timeout_seconds=60,
    look_seconds=60.0,
    lease_margin_seconds=30.0,
    wake_cooldown_seconds=60.0,
)

tenants = st.sampled_from(["acme", "zeta"])
windows = st.sampled_from(["15m", "1h"])
which = st.integers(0, 5)


class Engine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = MemoryWorld(Path(os.devnull), limits=WALK_LIMITS)
        self.number = 0
        self.faults = 0

    # ------------------------------------------------------------ clients

    def _name(self) -> str:
        self.number += 1
        return f"r{self.number}"

    def _lines(self, count: int, *, bad: int) -> list[Any]:
        lines: list[Any] = [
            chat(self._name(), model="ministral" if number % 5 == 4 else "mistral")
            for number in range(count)
        ]
        if bad:
            lines.insert(min(bad, count), b"this is no JSON")
        return lines

    @initialize(count=st.integers(1, 12), tenant=tenants, window=windows)
    def begin(self, count, tenant, window):
        self.world.submit(self._lines(count, bad=0), tenant=tenant, window=window)

    @rule(
        count=st.integers(1, 14),
        bad=st.sampled_from([0, 0, 0, 1, 3]),
        on_invalid=st.sampled_from(["fail", "skip"]),
        tenant=tenants,
        window=windows,
        priority=st.integers(0, 9),
    )
    def submit_a_batch(self, count, bad, on_invalid, tenant, window, priority):
        self.world.submit(
            self._lines(count, bad=bad),
            tenant=tenant,
            window=window,
            on_invalid=on_invalid,
            priority=priority,
            metadata={"notify_email": f"{tenant}@example.com"},
        )

    @rule(tenant=tenants, window=windows)
    def submit_a_single_request(self, tenant, window):
        self.world.respond(self._name(), tenant=tenant, window=window)

    @rule(count=st.integers(0, 5), bad=st.sampled_from([0, 0, 1]), times=st.integers(1, 2))
    def drop_a_file(self, count, bad, times):
        key = self.world.drop(f"{self._name()}.jsonl", jsonl(self._lines(count, bad=bad)))
        for _ in range(times):
            self.world.notify_upload(key)

    @rule(which=which)
    def cancel(self, which):
        everything = self.world.all_batches()
        if everything:
            batch = everything[which % len(everything)]
            batches.cancel(self.world.env, batch.tenant, batch.id, kind=batch.kind)

    @rule(which=which, act=st.sampled_from([pausing.pause, pausing.resume]))
    def pause_or_resume(self, which, act):
        everything = self.world.all_batches()
        batch = everything[which % len(everything)]
        with suppress(BackburnerError):
            act(self.world.env, batch.tenant, batch.id)

    @rule(which=which)
    def retry(self, which):
        everything = self.world.all_batches()
        with suppress(BackburnerError):
            self.world.retry(everything[which % len(everything)])

    @rule(which=which)
    def delete_an_input_file(self, which):
        known = sorted(self.world.uploaded)
        tenant, file_id = known[which % len(known)]
        with suppress(BackburnerError):
            files.delete(self.world.env, tenant, file_id)

    # ------------------------------------------------------------ machinery

    @rule()
    def pump(self):
        self.world.pump()  # no fault is armed: a handler that fails now is wrong

    @rule(queue=st.sampled_from(QueueName), times=st.integers(1, 2))
    def handle_one_message(self, queue, times):
        for name, message in self.world.receive(queue):
            for _ in range(times):
                self.world.handle(name, message)

    @rule(seconds=st.integers(1, 10))
    def wait_a_moment(self, seconds):
        self.world.advance(seconds)

    @rule(minutes=st.sampled_from([1, 1, 2, 5]))
    def wait(self, minutes):
        for _ in range(minutes):
            self.world.advance(60)
            self.world.reap()
            self.world.pump()

    @rule()
    def report_the_backlog(self):
        self.world.report_backlog()

    # ------------------------------------------------------------ the backend

    @precondition(lambda self: self.world.outstanding)
    @rule(which=which, reply=st.sampled_from(sorted(REPLIES)), told=st.sampled_from([1, 1, 2, 0]))
    def end_an_attempt(self, which, reply, told):
        attempt = self._attempt(which)
        self.world.answer(attempt, REPLIES[reply], told=False)
        for _ in range(told):
            self.world.notify_success(attempt)

    @precondition(lambda self: self.world.outstanding)
    @rule(which=which, cut=st.integers(0, 40))
    def end_an_attempt_truncated_and_out_of_order(self, which, cut):
        attempt = self._attempt(which)
        data = jsonl(map(succeed, reversed(attempt.requests)))
        self.world.answer(attempt, data=data[: len(data) - cut])

    @precondition(lambda self: self.world.outstanding)
    @rule(which=which, told=st.integers(0, 2))
    def fail_an_attempt(self, which, told):
        attempt = self._attempt(which)
        self.world.fail(attempt, told=False)
        for _ in range(told):
            self.world.notify_error(attempt)

    @precondition(lambda self: self.world.outstanding)
    @rule(which=which)
    def lose_an_attempt(self, which):
        self.world.lose(self._attempt(which))

    @precondition(lambda self: self.world.backend.submissions)
    @rule(which=st.integers(0, 99), is_success=st.booleans())
    def tell_of_any_attempt_again_or_too_early(self, which, is_success):
        attempts = self.world.backend.submissions
        attempt = attempts[which % len(attempts)]
        (self.world.notify_success if is_success else self.world.notify_error)(attempt)

    @rule(
        kind=st.sampled_from([BackendThrottled, BackendRefused, BackendError]),
        is_taken=st.booleans(),
    )
    def the_next_submit_fails(self, kind, is_taken):
        is_taken = is_taken and kind is not BackendRefused
        self.world.backend.fail_next(kind("not now"), is_taken=is_taken)

    def _attempt(self, which: int) -> Any:
        return self.world.outstanding[which % len(self.world.outstanding)]

    # ------------------------------------------------------------ faults

    @precondition(lambda self: self.faults < MOST_FAULTS)
    @rule(
        act=st.sampled_from(
            ["pump", "reap", "submit", "respond", "answer", "drop", "cancel", "pause", "retry"]
        ),
        number=st.integers(0, 40),
        when=st.sampled_from(["before", "after"]),
        fault=st.sampled_from([Crash, PortError]),
    )
    def break_at_some_call(self, act, number, when, fault):
        self.faults += 1
        acts: dict[str, Callable[[], object]] = {
            "pump": lambda: self.world.pump(strict=False),
            "reap": self._reap_with_a_fault,
            "submit": lambda: self.world.submit(self._lines(4, bad=0), window="15m"),
            "respond": lambda: self.world.respond(self._name(), window="15m"),
            "answer": self._answer_first,
            "drop": lambda: self.drop_a_file(3, 0, 1),
            "cancel": lambda: self.cancel(number),
            "retry": lambda: self.retry(number),
            "pause": lambda: self.pause_or_resume(number, pausing.pause),
        }
        with self.world.tap.hooked(fault_at(number, when, fault)), suppress(Crash, PortError):
            acts[act]()

    def _answer_first(self) -> None:
        if self.world.outstanding:
            self.world.answer(reply=by_name({}))

    def _reap_with_a_fault(self) -> None:
        with suppress(ExceptionGroup):
            self.world.reap()

    # ------------------------------------------------------------ judgement

    @invariant()
    def every_step_holds(self):
        oracle.check_step(self.world)

    def teardown(self) -> None:
        try:
            self.world.backend.errors.clear()
            for batch in self.world.all_batches():
                if batch.paused and batch.expires_at > self.world.clock.now() + 3600:
                    pausing.resume(self.world.env, batch.tenant, batch.id)
            self.world.settle(minutes=150)
            oracle.check_end(self.world, tidy=False)
        finally:
            self.world.close()


TestEngine = Engine.TestCase
TestEngine.settings = settings(
    max_examples=tried(20, long=1000),
    stateful_step_count=tried(25, long=60),
    deadline=None,
    derandomize=not IS_LONG,
    suppress_health_check=list(HealthCheck),
)
