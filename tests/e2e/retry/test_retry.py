"""Mail that can't go yet waits and is tried again; mail in doubt too, later."""

import time

import pytest

from lab import mail, wait
from lab.client import send
from lab.sink import CLOSE, HANG, RESET, Then


def post(daemon, recipients="b@dest.test", body="Hello.\r\n"):
    reply = send(daemon.port, "a@client.test", recipients, mail.message(body=body))
    assert reply.code == 250, reply
    return reply.queue_id


@pytest.mark.asan
@pytest.mark.parametrize("step", ["connect", "ehlo", "mail", "rcpt", "data", "eod"])
@pytest.mark.parametrize("fault", ["451 4.3.0 try later", "421 4.3.2 closing"])
def test_27_4xx_at_any_stage_is_tried_again(relay, step, fault):
    daemon, sink = relay
    # EHLO refused for now, then HELO as well: the whole attempt fails.
    sink.on("helo", [fault])
    sink.on(step, [fault])
    queue_id = post(daemon)
    sink.wait(1)
    daemon.wait_event(queue_id, "delivered")
    kinds = daemon.event_kinds(queue_id)
    assert "bounced" not in kinds
    assert kinds[0] == "received"
    assert kinds[-1] == "delivered"
    assert len(sink.messages) == 1


@pytest.mark.parametrize("step", ["connect", "ehlo", "mail", "rcpt", "data", "content"])
@pytest.mark.parametrize("fault", [CLOSE, RESET, Then("421 4.3.2 shutting down", CLOSE)], ids=["close", "reset", "421"])
def test_27_a_connection_lost_before_the_end_is_tried_again(relay, step, fault):
    daemon, sink = relay
    sink.on(step, [fault])
    # More than the kernel buffers, so that the final dot never left.
    queue_id = post(daemon, body="more\r\n" * 4_000_000 if step == "content" else "Hello.\r\n")
    sink.wait(1, timeout=30)
    daemon.wait_event(queue_id, "delivered")
    kinds = daemon.event_kinds(queue_id)
    assert "in doubt" not in kinds and "bounced" not in kinds
    assert len(sink.messages) == 1


@pytest.mark.parametrize("extensions", [("PIPELINING", "8BITMIME"), ("8BITMIME",)], ids=["pipelined", "in_lock_step"])
def test_27_a_refusal_said_before_it_was_asked_for_is_nobodys(relay, extensions):
    daemon, sink = relay
    sink.extensions = extensions
    sink.on("mail", [None, b"554 5.3.0 enough for today\r\n250 2.1.0 ok\r\n"])
    for count in (1, 2):
        queue_id = post(daemon)
        sink.wait(count)
        daemon.wait_event(queue_id, "delivered")
        assert daemon.event_kinds(queue_id) == ["received", "delivered"]
    assert sink.connections == 2


def test_27_greylisting(relay):
    daemon, sink = relay
    seen = set()

    def greylist(session, argument):
        if argument in seen:
            return None
        seen.add(argument)
        return "450 4.2.0 greylisted, come back later"

    sink.on("rcpt", greylist)
    queue_id = post(daemon, ["b@dest.test", "c@dest.test"])
    wait.until(lambda: sum(len(m.recipients) for m in sink.messages) == 2, "both recipients", 20)
    daemon.wait_log(rf"{queue_id}: to=<b@dest\.test>.*dsn=4\.2\.0, status=deferred \(.*greylisted")
    daemon.wait_empty()


def test_27_only_the_deferred_recipients_are_tried_again(relay):
    daemon, sink = relay
    sink.on("rcpt", [None, "450 4.2.1 busy", None])
    post(daemon, ["one@dest.test", "two@dest.test", "three@dest.test"])
    first, second = sink.wait(2)
    everyone = first.recipients + second.recipients
    assert sorted(everyone) == ["one@dest.test", "three@dest.test", "two@dest.test"]
    assert len(second.recipients) == 1


def test_waits_grow(lab):
    sink = lab.sink()
    sink.on("mail", ["450 4.3.0 no"] * 4)
    times = []
    sink.on("connect", lambda session, _: times.append(time.monotonic()))
    daemon = lab.relay_to(sink, retry="first 1s; factor 2; max 10m; doubt 3s; expire 10m; warn 5m", delivery="idle_timeout 10ms")
    post(daemon)
    wait.until(lambda: len(times) >= 4, "four attempts", 30)
    gaps = [b - a for a, b in zip(times, times[1:])]
    assert gaps[0] > 0.4
    assert gaps[2] > gaps[0]


def test_one_probe_while_a_site_is_down(lab):
    sink = lab.sink()
    sink.stop()
    daemon = lab.relay_to(sink)
    ids = [post(daemon, f"b{n}@dest.test") for n in range(30)]
    for queue_id in ids:
        daemon.wait_event(queue_id, "deferred")
    sink.start()
    sink.wait(30, timeout=30)
    daemon.wait_empty()


class TestInDoubt:
    """The connection ends after the final dot: the message may have arrived."""

    @pytest.mark.parametrize("end", [CLOSE, RESET], ids=["close", "reset"])
    def test_8_it_is_recorded_and_tried_after_the_doubt_delay(self, relay, end):
        daemon, sink = relay
        sink.on("eod", [end])
        queue_id = post(daemon)
        daemon.wait_event(queue_id, "in doubt")
        sink.wait(1)
        daemon.wait_event(queue_id, "delivered")
        first, second = sink.seen
        assert second.at - first.at > 2.8  # doubt 3s
        assert first.content == second.content
        assert "bounced" not in daemon.event_kinds(queue_id)

    def test_28_a_hang_after_the_final_dot_is_doubt(self, lab):
        sink = lab.sink()
        sink.on("eod", [HANG])
        daemon = lab.relay_to(sink, delivery="final_timeout 1s")
        queue_id = post(daemon)
        daemon.wait_event(queue_id, "in doubt")
        sink.wait(1)
        assert len(sink.seen) == 2

    def test_8_a_reply_that_is_none_is_doubt(self, relay):
        daemon, sink = relay
        sink.on("eod", [Then(b"garbage\xff\r\n", CLOSE)])
        queue_id = post(daemon)
        sink.wait(1)
        daemon.wait_event(queue_id, "delivered")
        assert "bounced" not in daemon.event_kinds(queue_id)

    def test_an_admin_may_try_at_once(self, lab):
        sink = lab.sink()
        sink.on("eod", [CLOSE])
        daemon = lab.relay_to(sink, retry="first 1s; factor 2; max 2s; doubt 10m; expire 1h; warn 30m")
        queue_id = post(daemon)
        daemon.wait_event(queue_id, "in doubt")
        assert sink.messages == []
        daemon.ctl("retry", queue_id)
        sink.wait(1)


@pytest.mark.parametrize(
    "reply",
    [
        b"250-2.0.0 first\r\n250 2.0.0 last\r\n",
        b"250 \r\n",
        b"250\r\n",
        b"250 " + b"x" * 400 + b"\r\n",
    ],
)
def test_unusual_good_replies_are_good(relay, reply):
    daemon, sink = relay
    sink.on("eod", [reply])
    queue_id = post(daemon)
    daemon.wait_event(queue_id, "delivered")
    assert len(sink.seen) == 1


@pytest.mark.parametrize("garbage", [b"hello\r\n", b"\r\n", b"2xx what\r\n", b"\x00\x01\x02\r\n", b"z" * 100_000])
def test_garbage_for_a_greeting_defers(relay, garbage):
    daemon, sink = relay
    sink.on("connect", [Then(garbage, CLOSE)])
    queue_id = post(daemon)
    sink.wait(1)
    assert "bounced" not in daemon.event_kinds(queue_id)
