"""Rows 14 and 15: SIGKILL at the moments where mail could be lost or doubled."""

import collections
import os
import random
import re
import signal
import threading
import time

import pytest

from lab import mail, wait
from lab.client import send
from lab.sink import CLOSE

RETRY = "first 1s; factor 1; max 1s; doubt 1s; expire 1h; warn never"


@pytest.fixture
def relay_fast(lab):
    sink = lab.sink()
    daemon = lab.relay_to(sink, retry=RETRY)
    return daemon, sink


def token_of(content):
    return re.search(rb"X-Token: (\S+)", content).group(1).decode()


def post(daemon, content, sender="a@client.test", recipients="b@dest.test"):
    return send(daemon.port, sender, recipients, content).code


@pytest.mark.parametrize("size", [1000, 700_000])
def test_14_killed_between_the_remotes_250_and_our_commit(relay_fast, size):
    """At most one duplicate a kill, nothing lost, nothing bounced."""
    daemon, sink = relay_fast
    killed = []

    def eod(session, message):
        token = token_of(message.content)
        if token in killed:
            return None
        killed.append(token)
        sink.accept(message)
        os.kill(daemon.engine(), signal.SIGSTOP)  # it must not get to its commit
        session.send("250 2.0.0 taken")
        os.kill(daemon.engine(), signal.SIGKILL)
        return CLOSE

    sink.on("eod", eod)
    sent = [f"t{n}" for n in range(4)]
    for number, token in enumerate(sent):
        content = mail.message(X_Token=token, body=mail.big_body(size, token))
        assert post(daemon, content) == 250
        wait.until(lambda: len(sink.messages) == 2 * number + 2, "twice", 30)  # noqa: B023
        daemon.wait_empty()
    counts = collections.Counter(token_of(m.content) for m in sink.messages)
    assert counts == {token: 2 for token in sent}
    assert all(m.mail_from == "a@client.test" for m in sink.messages), "something bounced"
    assert "status=bounced" not in daemon.log and "status=expired" not in daemon.log


def test_15_killed_while_bounces_are_made(relay_fast):
    """One notification a message, never none, never a second one."""
    daemon, sink = relay_fast
    dice = random.Random(15)
    refusing = threading.Event()

    def rcpt(session, argument):
        if b"@dest.test" in argument:
            return "550 5.1.1 no such user" if refusing.is_set() else "451 4.3.0 not yet"
        return None

    sink.on("rcpt", rcpt)
    sent = [f"s{n}" for n in range(500)]
    for token in sent:
        recipients = [f"r{n}@dest.test" for n in range(dice.choice([1, 1, 3]))]
        content = mail.message(X_Token=token, body=mail.big_body(dice.choice([500, 20_000]), token))
        assert post(daemon, content, f"{token}@client.test", recipients) == 250
    refusing.set()
    kills, made = 15, []
    for _ in range(kills):
        # At a random moment while some are under way, however fast the machine.
        enough = min(len(sink.messages) + dice.randint(1, 15), len(sent))
        wait.until(lambda: len(sink.messages) >= enough, "some bounces", 60, step=0.002)  # noqa: B023
        daemon.crash()
        made.append(len(sink.messages))
        daemon.start()
    assert len(set(made)) > 4, f"the kills came too early or too late: {made}"
    wait.until(lambda: {m.recipients[0] for m in sink.messages} >= {f"{t}@client.test" for t in sent}, "bounces", 60)
    daemon.wait_empty(60)
    ids = collections.defaultdict(set)
    for message in sink.messages:
        assert message.mail_from == ""
        (sender,) = message.recipients
        bounce = mail.Bounce(message.content)
        ids[sender].add(bounce.message["Message-ID"])
        assert len(bounce.recipients) in (1, 3)
    assert set(ids) == {f"{t}@client.test" for t in sent}
    doubled = {sender: found for sender, found in ids.items() if len(found) != 1}
    assert doubled == {}
    # The same notification may come again when its own delivery was cut.
    assert len(sink.messages) - len(sent) <= kills * 20
    assert "status=expired" not in daemon.log


def test_15_a_restart_does_not_multiply_notifications(lab):
    """Between recipients of one domain stand others: they share a notification all the same."""
    sink = lab.sink()
    sink.on("rcpt", lambda session, argument: "451 4.3.0 not yet" if b"@client.test" not in argument else None)
    daemon = lab.relayd(
        extra=f"smarthost sink {{ host 127.0.0.1:{sink.port}; tls none }}",
        routes="route to held.test hold\nroute default via sink",
        retry="first 3s; factor 1; max 3s; expire 2s; warn never",
    )
    recipients = [f"r{n}@{'held' if n % 2 else 'dest'}.test" for n in range(20)]
    assert post(daemon, mail.message(X_Token="one"), recipients=recipients) == 250
    daemon.wait_log("status=deferred")
    daemon.crash()
    daemon.start()
    # With a connection at hand whatever is due goes at once, without waiting for the rest.
    assert post(daemon, mail.message(X_Token="two"), recipients="b@client.test") == 250
    sink.wait(1)
    wait.until(lambda: daemon.log.count("status=expired") == 10, "ten that expired")
    wait.until(lambda: daemon.log.count("status=sent") == 1 + daemon.log.count("notification"), "they are told")
    notification, *more = sink.messages[1:]
    assert more == []
    assert [r["Action"] for r in mail.Bounce(notification.content).recipients] == ["failed"] * 10
