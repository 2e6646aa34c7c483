"""A signal that asks to stop is heard, whenever it comes."""

import os
import random
import signal
import threading

import pytest

from backburner_local.stopping import StopSignals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait(number):
    with StopSignals() as stopping:
        threading.Timer(0.02, os.kill, (os.getpid(), number)).start()
        stopping.wait()
        assert stopping.is_told


def test_a_signal_just_before_the_wait_is_not_lost():
    """An Event loses one of some thousands: it hangs here."""
    rounds = random.Random(7)
    before = signal.getsignal(signal.SIGALRM)
    try:
        for _ in range(3000):
            with StopSignals() as stopping:
                signal.signal(signal.SIGALRM, stopping._hear)
                signal.setitimer(signal.ITIMER_REAL, rounds.random() * 60e-6 + 1e-6)
                stopping.wait()
    finally:
        signal.signal(signal.SIGALRM, before)


def test_only_a_second_interrupt_is_impatience():
    impatient: list[bool] = []
    with StopSignals(on_second_interrupt=lambda: impatient.append(True)):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
        assert impatient == []
        signal.raise_signal(signal.SIGINT)
    assert impatient == [True]


def test_signals_are_left_to_whoever_had_them_before():
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
