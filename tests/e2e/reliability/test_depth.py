"""Rows 40 and 41: a long queue at a restart, and behind a destination that is dead.

In short: 10,000 messages. With a million, and with figures beside other
servers: bench/run --only depth,dead-refusing,dead-silent
"""

import re
import socket
import time
from pathlib import Path

import pytest

from lab import mail, ports, postfix, wait
from lab.client import send

COUNT = 10_000
SECONDS = 5
RETRY = "first 1s; factor 1; max 1s; doubt 1s; expire 1h; warn never"


def fill(daemon, to, count=COUNT):
    done = postfix.run_smtp_source(daemon.port, count, "-d", sessions=50, size=500, to=to)
    assert done.returncode == 0, done.stderr


def heap_bytes(pid):
    """What is the engine's own: not the pages of its files."""
    return int(re.search(r"^Anonymous: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[1]) * 1024


def post(daemon, token, mail_args=""):
    reply = send(daemon.port, "a@client.test", "b@live.test", mail.message(X_Token=token), mail_args=mail_args)
    assert reply.code == 250, reply


def tokens(sink):
    return {re.search(rb"(?m)^X-Token: (.*?)\r$", m.header).group(1).decode() for m in sink.messages}


@pytest.fixture
def between_two(lab):
    """(daemon, port): mail for live.test goes to that port, all other mail to a port that refuses."""
    live, dead = ports.free(), ports.free()
    daemon = lab.relayd(
        extra=f"smarthost live {{ host 127.0.0.1:{live}; tls none }}\n"
        f"smarthost dead {{ host 127.0.0.1:{dead}; tls none }}",
        routes="route to live.test via live\nroute default via dead",
        limits="connections_per_client unlimited",
        retry=RETRY,
        listen="role submission; tls none; login unless_trusted",  # where a sender may say when
    )
    yield daemon, live
    ports.release(live)
    ports.release(dead)


def test_40_a_long_queue_is_back_at_once(lab, between_two):
    daemon, live = between_two
    before = heap_bytes(daemon.engine())
    post(daemon, "later", "HOLDFOR=3600")
    fill(daemon, "b@dest.test")
    due = {f"due{n}" for n in range(20)}
    for token in due:
        post(daemon, token)
    daemon.crash()
    sink = lab.sink(port=live)
    began = time.monotonic()
    daemon.start()
    post(daemon, "new")
    accepted = time.monotonic() - began
    assert accepted < SECONDS * wait.FACTOR
    # What is due goes, though so much stands before it; what is not stays.
    wait.until(lambda: tokens(sink) == due | {"new"}, lambda: f"due mail first: {tokens(sink)}", SECONDS)
    assert daemon.json("status")["queue"]["messages"] == COUNT + 1
    each = (heap_bytes(daemon.engine()) - before) / COUNT
    assert each < 1024, f"{each:.0f} bytes a message"


def pace(daemon, sink, count=1000):
    arrived = len(sink.messages)
    began = time.monotonic()
    fill(daemon, "b@live.test", count)
    sink.wait(arrived + count, 60)
    return time.monotonic() - began


@pytest.mark.parametrize("silent", [False, True], ids=["refuses", "says nothing"])
def test_41_others_beside_a_dead_destination(lab, silent):
    sink = lab.sink()
    hole = socket.create_server(("127.0.0.1", 0), backlog=100)  # the kernel greets; nobody else does
    dead = hole.getsockname()[1]
    if not silent:
        hole.close()
    options = {
        "extra": f"smarthost live {{ host 127.0.0.1:{sink.port}; tls none }}\n"
        f"smarthost dead {{ host 127.0.0.1:{dead}; tls none }}",
        "routes": "route to live.test via live\nroute default via dead",
        "limits": "connections_per_client unlimited",
        "retry": RETRY,
    }
    free, burdened = lab.relayd(**options), lab.relayd(**options)
    fill(burdened, "b@dest.test")
    for daemon in (free, burdened):
        pace(daemon, sink, 500)
    # In turns, for whatever else this machine does falls on both.
    spent = [(pace(free, sink), pace(burdened, sink)) for _ in range(3)]
    hole.close()
    assert burdened.json("status")["queue"]["messages"] == COUNT
    assert min(with_it / without for without, with_it in spent) < 2, spent
