"""Polling with a deadline: tests never sleep for a fixed time."""

import os
import time

# Sanitizer builds and loaded machines stretch every deadline.
FACTOR = float(os.environ.get("RELAYD_TEST_PATIENCE", "1"))


class Late(AssertionError):
    pass


def until(ready, what, timeout=10, step=0.02):
    """Returns ready()'s first true value; raises Late after `timeout` seconds."""
    end = time.monotonic() + timeout * FACTOR
    while True:
        value = ready()
        if value:
            return value
        if time.monotonic() > end:
            raise Late(f"not within {timeout * FACTOR:g} s: {what() if callable(what) else what}")
        time.sleep(step)


def never(happens, what, within):
    """Watches for `within` seconds that something does not happen."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        assert not happens(), what
        time.sleep(0.02)
