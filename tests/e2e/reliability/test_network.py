"""Rows 58 and 59: networks and replies that are no good."""

import json

import pytest

from lab import mail, wait
from lab.client import send

RECORDS = """
dest  MX 10 both
both  AAAA 2001:db8::25
      A 127.0.0.11
"""


def post(daemon):
    reply = send(daemon.port, "a@client.test", "b@dest.test", mail.message())
    assert reply.code == 250, reply
    return reply.queue_id


def test_58_an_address_without_a_route_is_passed_over(lab):
    """In the same attempt: the message is neither deferred nor bounced."""
    sink = lab.mx(11)
    daemon = lab.relayd(resolver=lab.dns(RECORDS).address)
    queue_id = post(daemon)
    sink.wait(1)
    daemon.wait_event(queue_id, "delivered")
    assert daemon.event_kinds(queue_id) == ["received", "delivered"]


ENDLESS = {
    "one line": b"4" * (1 << 20) + b"\r\n",
    "one reply": b"550-" + b"x" * (1 << 20) + b"\r\n550 x\r\n",
    "many lines": b"550-5.1.1 no\r\n" * 70_000 + b"550 5.1.1 no\r\n",
}


@pytest.mark.asan
@pytest.mark.parametrize("step", ["ehlo", "mail", "rcpt", "data", "eod"])
@pytest.mark.parametrize("name", ENDLESS)
def test_59_a_reply_of_a_mebibyte_is_cut_to_a_bound(relay, name, step):
    daemon, sink = relay
    sink.on(step, ENDLESS[name])
    queue_id = post(daemon)
    ended = {"deferred", "bounced", "in doubt"}
    wait.until(lambda: ended & set(daemon.event_kinds(queue_id)), lambda: f"an end of the attempt\n{daemon.log}", 20)
    assert "delivered" not in daemon.event_kinds(queue_id)
    for event in daemon.events(queue_id):
        assert len(json.dumps(event)) < 2000, event
    assert max(len(line) for line in daemon.log.splitlines()) < 2000
    sink.on(step, None)
    daemon.ctl("retry", "--all", "--yes")
    daemon.wait_event(post(daemon), "delivered")
