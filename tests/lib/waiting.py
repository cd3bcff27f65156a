"""Waiting for something to become true. No test sleeps and hopes: it says what it waits for."""
import time

# A machine with busy cores is slow, not wrong: deadlines are generous because only failures reach them.
PATIENCE_S = 120.0


class TimedOut(AssertionError):
    pass


def wait_until(predicate, what, timeout_s=PATIENCE_S):
    """Returns the first true value of predicate(), asked every 10 ms, or as often as it takes half of the time; fails
    with `what` (a text, or a function that makes one) at the deadline."""
    deadline = time.monotonic() + timeout_s
    while True:
        begin = time.monotonic()
        value = predicate()
        if value:
            return value
        now = time.monotonic()
        if now > deadline:
            raise TimedOut("still not so after %g s: %s" % (timeout_s, what() if callable(what) else what))
        time.sleep(max(0.01, min(now - begin, 1.0)))


def stays_so(predicate, what, for_s=0.3):
    """Fails when predicate() turns false within for_s: for what must not happen, where no event can tell."""
    deadline = time.monotonic() + for_s
    while time.monotonic() < deadline:
        assert predicate(), what
        time.sleep(0.01)
