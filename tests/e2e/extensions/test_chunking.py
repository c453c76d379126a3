"""Large messages on their way out by BDAT (RFC 3030)."""

import re

import pytest

from lab import mail
from lab.client import send
from lab.sink import CLOSE, Sink

WITH_CHUNKING = (*Sink.EXTENSIONS, "CHUNKING")


def usual(lab, **options):
    sink = lab.sink(extensions=WITH_CHUNKING, **options)
    daemon = lab.relay_to(sink)
    return daemon, sink


def verbs(session):
    return [c.split(b" ")[0] for c in session.commands]


@pytest.mark.asan
@pytest.mark.parametrize("size", [70_000, 3_000_000])  # in memory; in a file
def test_large_messages_go_in_chunks(lab, size):
    daemon, sink = usual(lab)
    content = mail.message(body=mail.big_body(size))
    assert send(daemon.port, "a@client.test", ["b@dest.test", "c@dest.test"], content).code == 250
    (seen,) = sink.wait(1)
    assert mail.after_trace(seen.content) == content
    chunks = [c for c in sink.sessions[0].commands if c.startswith(b"BDAT")]
    assert len(chunks) > 1 and b"DATA" not in verbs(sink.sessions[0])
    assert chunks[-1].endswith(b" LAST") and not any(c.endswith(b" LAST") for c in chunks[:-1])
    assert sum(int(c.split()[1]) for c in chunks) == len(seen.content)


def test_small_ones_and_others_by_data(lab):
    daemon, sink = usual(lab)
    assert send(daemon.port, "a@client.test", "b@dest.test", mail.message()).code == 250
    sink.wait(1)
    assert b"DATA" in verbs(sink.sessions[0]) and b"BDAT" not in verbs(sink.sessions[0])


def test_without_the_offer_by_data(relay):
    daemon, sink = relay
    content = mail.message(body=mail.big_body(200_000))
    assert send(daemon.port, "a@client.test", "b@dest.test", content).code == 250
    assert mail.after_trace(sink.wait(1)[0].content) == content
    assert b"DATA" in verbs(sink.sessions[0])


@pytest.mark.parametrize("answer, event", [("452 4.3.1 full", "deferred"), ("552 5.2.2 too much", "bounced")])
def test_a_refused_chunk(lab, answer, event):
    daemon, sink = usual(lab)
    sink.on("bdat", [answer])
    content = mail.message(body=mail.big_body(500_000))
    queue_id = send(daemon.port, "a@client.test", "b@dest.test", content).queue_id
    (told,) = daemon.wait_event(queue_id, event)
    assert told["reply"]["text"].endswith(answer.split(" ", 2)[2])
    (seen,) = sink.wait(1)
    if event == "deferred":
        assert mail.after_trace(seen.content) == content
    else:
        assert mail.Bounce(seen.content).recipient("b@dest.test")["Status"] == "5.2.2"
    daemon.wait_empty()


def test_8_lost_after_the_last_chunk_is_in_doubt(lab):
    daemon, sink = usual(lab)
    sink.on("eod", [CLOSE])
    queue_id = send(daemon.port, "a@client.test", "b@dest.test", mail.message(body=mail.big_body(100_000))).queue_id
    daemon.wait_event(queue_id, "in doubt")
    sink.wait(1)
    assert daemon.event_kinds(queue_id)[-1] == "delivered" or daemon.wait_event(queue_id, "delivered")


def test_lost_between_chunks_is_not(lab):
    daemon, sink = usual(lab)
    sink.on("bdat", [CLOSE])
    # More than the system takes while nobody reads.
    queue_id = send(daemon.port, "a@client.test", "b@dest.test", mail.message(body=mail.big_body(16_000_000))).queue_id
    sink.wait(1, timeout=40)
    daemon.wait_event(queue_id, "delivered")
    assert "in doubt" not in daemon.event_kinds(queue_id)


def test_postfix_takes_chunks(lab):
    server = lab.postfix(smtpd_client_restrictions="static:HOLD", message_size_limit="20000000")
    daemon = lab.relayd(
        extra=f"smarthost next {{ host 127.0.0.1:{server.port}; tls none }}", routes="route default via next"
    )
    content = mail.message(body=mail.big_body(1_000_000))
    assert send(daemon.port, "a@client.test", "b@dest.test", content).code == 250
    (held,) = server.held(1)
    assert mail.after_trace(held.replace(b"\n", b"\r\n")) == content
    daemon.stop()
    lines = re.findall(r"disconnect from .*bdat=(\d+)", server.log)
    assert lines and int(lines[-1]) > 10, server.log
