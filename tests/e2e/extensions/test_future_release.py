"""Messages that their senders want to go later (RFC 4865), on submission listeners."""

import datetime
import time

import pytest

from lab import mail, wait
from lab.client import Client

LISTEN = "role submission; tls none; login unless_trusted"


def usual(lab, **options):
    sink = lab.sink()
    daemon = lab.relay_to(sink, listen=LISTEN, **options)
    return daemon, sink


def post(daemon, args, recipients=("b@dest.test",)):
    with Client(daemon.port) as client:
        client.ehlo()
        reply = client.transaction("a@client.test", list(recipients), mail.message(), mail_args=args)
        assert reply.code == 250, reply
        return reply.queue_id


def now():
    return datetime.datetime.now(datetime.timezone.utc)


@pytest.mark.asan
def test_it_goes_when_it_is_due_and_not_before(lab):
    daemon, sink = usual(lab)
    begun = time.monotonic()
    queue_id = post(daemon, "HOLDFOR=3", ["b@dest.test", "c@other.test"])
    assert daemon.event_kinds(queue_id) == ["received", "postponed"]
    (message,) = sink.wait(1)
    assert message.at - begun >= 3
    assert message.recipients == ["b@dest.test", "c@other.test"]
    daemon.wait_event(queue_id, "delivered")


def test_holduntil(lab):
    daemon, sink = usual(lab)
    at = now() + datetime.timedelta(seconds=3)
    post(daemon, f"HOLDUNTIL={at.astimezone(datetime.timezone(datetime.timedelta(hours=2))).isoformat(timespec='milliseconds')}")
    sink.wait(1)
    assert now() >= at


def test_it_waits_through_crash_and_reload_and_is_shown(lab):
    daemon, sink = usual(lab)
    queue_id = post(daemon, "HOLDFOR=3600")
    daemon.crash()
    daemon.start()
    daemon.ctl("reload")
    recipient = daemon.recipients(queue_id)["b@dest.test"]
    assert recipient["state"] == "waiting" and recipient["attempts"] == 0
    assert 3500_000 < recipient["next_in_ms"] <= 3600_000
    until = datetime.datetime.fromtimestamp(recipient["release_ms"] / 1000, datetime.timezone.utc)
    assert datetime.timedelta(minutes=58) < until - now() < datetime.timedelta(minutes=61)
    assert "waits until 20" in daemon.ctl("queue").stdout
    assert "waits until 20" in daemon.ctl("show", queue_id).stdout
    assert "postponed" in daemon.ctl("trace", queue_id).stdout
    assert sink.seen == []


def test_an_admin_sends_it_at_once(lab):
    daemon, sink = usual(lab)
    queue_id = post(daemon, "HOLDFOR=3600")
    daemon.ctl("retry", queue_id)
    sink.wait(1)
    daemon.wait_event(queue_id, "delivered")


def test_out_of_a_hold_it_still_waits(lab):
    daemon, sink = usual(lab)
    queue_id = post(daemon, "HOLDFOR=3600")
    daemon.ctl("hold", queue_id)
    daemon.wait_event(queue_id, "held")
    daemon.ctl("release", queue_id)
    daemon.wait_event(queue_id, "released")
    wait.until(lambda: daemon.recipient_state(queue_id, "b@dest.test") == "waiting", "it waits again")
    assert daemon.recipients(queue_id)["b@dest.test"]["next_in_ms"] > 3500_000
    assert sink.seen == []


def test_expiry_counts_from_the_release(lab):
    daemon, sink = usual(lab, retry="first 1s; factor 1; max 1s; doubt 1s; expire 3s; warn never")
    sink.on("rcpt", lambda session, argument: "450 4.2.2 full" if b"b@dest" in argument else None)
    queue_id = post(daemon, "HOLDFOR=4")
    begun = time.monotonic()
    (report,) = sink.wait(1, timeout=30)
    assert report.at - begun >= 6.5
    assert mail.Bounce(report.content).recipient("b@dest.test")["Action"] == "failed"
    assert daemon.event_kinds(queue_id).count("deferred") >= 1


def test_bounds(lab):
    daemon, _ = usual(lab, limits="future_release 1h")
    with Client(daemon.port) as client:
        client.ehlo()
        seconds, until = client.extensions["FUTURERELEASE"].split()
        assert seconds == "3600"
        last = datetime.datetime.fromisoformat(until.replace("Z", "+00:00"))
        assert abs(last - now() - datetime.timedelta(hours=1)) < datetime.timedelta(minutes=1)
        assert client.command("MAIL FROM:<a@client.test> HOLDFOR=3601").code == 501
        assert client.command("MAIL FROM:<a@client.test> HOLDUNTIL=2099-01-01T00:00:00Z").code == 501
        assert client.command("MAIL FROM:<a@client.test> HOLDFOR=60 HOLDUNTIL=2099-01-01T00:00:00Z").code == 501
        assert client.command("MAIL FROM:<a@client.test> HOLDFOR=3600").code == 250


@pytest.mark.parametrize("listen, limits", [(None, None), (LISTEN, "future_release none")])
def test_elsewhere_it_is_not_offered(lab, listen, limits):
    daemon = lab.relayd(listen=listen, limits=limits, routes="route default hold")
    with Client(daemon.port) as client:
        client.ehlo()
        assert "FUTURERELEASE" not in client.extensions
        assert client.command("MAIL FROM:<a@client.test> HOLDFOR=60").code == 555
