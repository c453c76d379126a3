"""Row 42: the wall clock is set while mail waits."""

import collections
import time

import pytest

from lab import mail, wait
from lab.client import send
from lab.clock import LIBRARY, Clock

WAIT = 1.0  # between attempts
RETRY = f"first {WAIT:g}s; factor 1; max {WAIT:g}s; doubt {WAIT:g}s; expire 5d; warn 2d"
NOT_YET = "451 4.3.0 not yet"


@pytest.fixture
def at(lab):
    """(relayd, sink, clock): relayd's wall clock is the test's."""
    if not LIBRARY.exists():
        pytest.skip(f"not built: {LIBRARY}")
    sink = lab.sink()
    clock = Clock(lab.folder / "clock")
    daemon = lab.relay_to(sink, retry=RETRY, env=clock.env)
    return daemon, sink, clock


class Attempts:
    """Refuses every recipient for now, and notes when it was asked."""

    def __init__(self, sink):
        self.times = collections.defaultdict(list)
        sink.on("rcpt", self.refuse)

    def refuse(self, session, argument):
        self.times[argument].append(time.monotonic())
        return NOT_YET

    def fewest(self):
        return min(len(times) for times in self.times.values()) if self.times else 0

    def more(self, count):
        """Each recipient is tried so often from now on; the waits seen meanwhile."""
        before = {who: len(times) for who, times in self.times.items()}
        wait.until(
            lambda: all(len(times) >= before.get(who, 0) + count for who, times in self.times.items()),
            lambda: f"{count} more attempts at each: { {w: len(t) for w, t in self.times.items()} }, before {before}",
            30,
        )
        return [
            later - earlier
            for who, times in self.times.items()
            for earlier, later in zip(times[before[who] - 1 :], times[before[who] :])
        ]


def post(daemon, count, name):
    for n in range(count):
        reply = send(daemon.port, "a@client.test", f"{name}{n}@dest.test", mail.message())
        assert reply.code == 250, reply


def as_before(waits):
    """Neither at once nor far in the future: a wait and its jitter, on a busy machine."""
    assert min(waits) > WAIT * 0.5, sorted(waits)[:5]
    assert max(waits) < WAIT * 4 * wait.FACTOR, sorted(waits)[-5:]


def nothing_ended(daemon):
    for word in ("status=expired", "status=bounced", "status=delayed", "notification"):
        assert word not in daemon.log, daemon.log


@pytest.mark.parametrize("days", [1, -1, -3652])
def test_42_a_clock_that_is_set_moves_no_wait_and_ends_nothing(at, days):
    daemon, sink, clock = at
    attempts = Attempts(sink)
    post(daemon, 8, "before")
    wait.until(lambda: len(attempts.times) == 8 and attempts.fewest() >= 2, "all are tried twice", 30)
    clock.set(days)
    as_before(attempts.more(3))
    way = "ahead" if days > 0 else "back"
    daemon.wait_log(rf"warning: the clock was set {way} by {abs(days)} d 0 h 0 min 0 s: waits and limits go on", 20)
    nothing_ended(daemon)
    post(daemon, 4, "after")
    ids = daemon.queue_ids()
    assert len(set(ids)) == 12
    # A start has nothing but times of the wall to go by.
    daemon.restart()
    attempts.more(2)
    nothing_ended(daemon)
    if days < 0:
        daemon.wait_log(r"warning: the clock is .* before the newest message")
    sink.on("rcpt", None)
    daemon.wait_empty(30)
    nothing_ended(daemon)
    assert sorted(m.recipients[0] for m in sink.messages) == sorted(
        [f"before{n}@dest.test" for n in range(8)] + [f"after{n}@dest.test" for n in range(4)]
    )


def test_42_a_start_long_after_tries_each_before_it_expires(at):
    """The machine was off for years, or its clock says so."""
    daemon, sink, clock = at
    attempts = Attempts(sink)
    post(daemon, 8, "before")
    wait.until(lambda: len(attempts.times) == 8, "all are tried", 30)
    daemon.stop()
    clock.set(3652)
    sink.on("rcpt", None)
    daemon.start()
    daemon.wait_empty(30)
    nothing_ended(daemon)
    assert sorted(m.recipients[0] for m in sink.messages) == [f"before{n}@dest.test" for n in range(8)]
