"""What may be inside a message, and where it ends."""

import socket

import pytest

from lab import mail, wait
from lab.client import Client, send

# The bare line ends of SMTP smuggling: none of them ends a message anywhere.
SMUGGLED = b"\r\nMAIL FROM:<evil@client.test>\r\nRCPT TO:<victim@dest.test>\r\nDATA\r\nSubject: evil\r\n\r\nx"
ENDS = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r\n.\r",
    b"\r.\r\n",
    b"\r\n\x00.\r\n\n.\n",
    b"\r\r\n.\r\n\n",
    b"\r\n.\r\r\n",
]
LINES = b"no dots in here\r\n" * 20_000


def begin(client):
    client.ehlo()
    client.command("MAIL FROM:<a@client.test>")
    client.command("RCPT TO:<b@dest.test>")
    assert client.command("DATA").code == 354


@pytest.mark.asan
@pytest.mark.parametrize("end", [e for e in ENDS if b"\r\n.\r\n" not in e])
@pytest.mark.parametrize("how", ["burst", "bytes"])
def test_9_nothing_is_smuggled_in(relay, end, how):
    daemon, sink = relay
    with Client(daemon.port) as client:
        begin(client)
        content = b"Subject: first\r\n\r\nx" + end + SMUGGLED.lstrip(b"\r\n") + b"\r\n.\r\n"
        client.send(content) if how == "burst" else client.send_slowly(content)
        assert client.reply().code == 550
        assert client.command("NOOP").code == 250
    assert sink.seen == []
    assert daemon.queue() == []


@pytest.mark.parametrize("bad", [b"a\rb", b"a\nb", b"a\n", b"\n", b"\r", b"a\r\r\n"])
def test_9_bare_line_ends_are_refused_in_chunks_too(relay, bad):
    daemon, sink = relay
    with Client(daemon.port) as client:
        client.ehlo()
        client.command("MAIL FROM:<a@client.test>")
        client.command("RCPT TO:<b@dest.test>")
        content = b"Subject: x\r\n\r\n" + bad + b"\r\n" if bad[-1:] not in b"\r\n" else b"S: x\r\n\r\n" + bad + b"y\r\n"
        client.send(b"BDAT %d LAST\r\n" % len(content) + content)
        assert client.reply().code == 550
        # The session goes on where the chunk ended.
        assert client.transaction("a@client.test", "b@dest.test", mail.message(subject="next")).code == 250
    (message,) = sink.wait(1)
    assert b"Subject: next" in message.header


def test_chunks_make_one_message(relay):
    daemon, sink = relay
    content = mail.message(body=b".\r\n..\r\nlast line without dots\r\n")
    with Client(daemon.port) as client:
        client.ehlo()
        assert "CHUNKING" in client.extensions
        client.command("MAIL FROM:<a@client.test>")
        client.command("RCPT TO:<b@dest.test>")
        for at in range(0, len(content), 50):
            piece = content[at : at + 50]
            last = " LAST" if at + 50 >= len(content) else ""
            assert client.command(f"BDAT {len(piece)}{last}\r\n".encode() + piece).code == 250
    (message,) = sink.wait(1)
    assert mail.after_trace(message.content) == content


def test_repair_line_ends_repairs_before_anything_is_stored(lab):
    sink = lab.sink()
    daemon = lab.relay_to(sink, listen="repair_line_ends")
    with Client(daemon.port) as client:
        begin(client)
        client.send(b"Subject: old\nX-A: b\n\nline\n.\nstill the same\rbare\r\n.\r\n")
        assert client.reply().code == 250
    (message,) = sink.wait(1)
    assert message.body == b"line\r\n.\r\nstill the same\r\nbare\r\n"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\r\n",
        b".\r\n",
        b"..\r\n",
        b"...\r\n.x\r\n",
        b"no end",
        b"x" * 998 + b"\r\n",
        b"x" * 5000 + b"\r\n",
        b"x" * 60000 + b"\r\n",
        b"nul \x00 in it\r\n",
        bytes(b for b in range(1, 256) if b not in b"\r\n") + b"\r\n",
        b"\r\n" * 3000,
        b"quoted: From \r\nFrom here\r\n>From there\r\n",
    ],
)
def test_a_body_arrives_byte_for_byte(relay, body):
    daemon, sink = relay
    content = mail.message(body=body)
    assert send(daemon.port, "a@client.test", "b@dest.test", content, mail_args="BODY=8BITMIME").code == 250
    (message,) = sink.wait(1)
    expected = content if content.endswith(b"\r\n") else content + b"\r\n"
    assert mail.after_trace(message.content) == expected


@pytest.mark.parametrize("size", [100_000, 200_000, 1_000_000, 10 * 1024 * 1024])
def test_large_messages_arrive_byte_for_byte(relay, size):
    daemon, sink = relay
    content = mail.message(body=mail.big_body(size))
    assert send(daemon.port, "a@client.test", "b@dest.test", content, mail_args=f"SIZE={len(content)}").code == 250
    (message,) = sink.wait(1, timeout=60)
    assert mail.after_trace(message.content) == content
    daemon.wait_empty()


def test_a_line_beyond_64_kilobytes_is_refused(relay):
    daemon, sink = relay
    content = mail.message(body=b"x" * 70000 + b"\r\n")
    assert send(daemon.port, "a@client.test", "b@dest.test", content).code == 550
    assert sink.seen == []


def test_the_header_may_be_long(relay):
    daemon, sink = relay
    content = mail.message(X_Long=" ".join(["word"] * 20) + "\r\n " + "\r\n ".join(["y" * 70] * 1000))
    assert send(daemon.port, "a@client.test", "b@dest.test", content).code == 250
    (message,) = sink.wait(1)
    assert mail.after_trace(message.content) == content


def test_a_header_without_end_is_refused(relay):
    daemon, sink = relay
    content = b"".join(b"X-%d: %s\r\n" % (n, b"z" * 60) for n in range(8000)) + b"\r\nbody\r\n"
    assert send(daemon.port, "a@client.test", "b@dest.test", content).code in (550, 552, 554)
    assert sink.seen == []


def test_20_size_is_told_and_kept(lab):
    daemon = lab.relayd(routes="route default hold", limits="message_size 100K")
    with Client(daemon.port) as client:
        client.ehlo()
        assert client.extensions["SIZE"] == str(100 * 1024)
        assert client.command("MAIL FROM:<a@client.test> SIZE=200000").code == 552
        # Without SIZE the content itself counts, to the byte, and the session goes on.
        big = mail.message(body=mail.big_body(150_000))
        assert client.transaction("a@client.test", "b@dest.test", big).code == 552
        assert client.transaction("a@client.test", "b@dest.test", mail.message()).code == 250
    assert len(daemon.queue()) == 1


def test_our_received_field_names_client_protocol_and_id(relay):
    daemon, sink = relay
    reply = send(daemon.port, "a@client.test", "b@dest.test", mail.message())
    (message,) = sink.wait(1)
    header = message.header.decode()
    received = header[: header.index("\r\nFrom:")]
    assert received.startswith("Received: from client.test")
    for part in ("[127.0.0.1]", "by mx.relay.test", "with ESMTP", f"id {reply.queue_id}"):
        assert part in received, received


def test_50_a_message_going_in_circles_is_refused(relay):
    daemon, sink = relay
    trace = "".join(f"Received: from h{n}.test by h{n + 1}.test; Mon, 2 Feb 2026 10:00:00 +0000\r\n" for n in range(51))
    reply = send(daemon.port, "a@client.test", "b@dest.test", trace.encode() + mail.message())
    assert (reply.code, reply.enhanced) == (554, "5.4.6")
    assert sink.seen == []


@pytest.mark.asan
def test_a_client_that_vanishes_leaves_nothing(relay):
    daemon, sink = relay
    with Client(daemon.port) as client:
        begin(client)
        client.send(mail.message(body=LINES))
    daemon.wait_log(r"lost connection after DATA from unknown\[127\.0\.0\.1\]")
    assert daemon.queue() == []
    assert sink.seen == []


@pytest.mark.asan
def test_a_client_that_only_stops_sending_gets_its_replies(relay):
    """As "printf ... | nc -N" does."""
    daemon, sink = relay
    with Client(daemon.port) as client:
        content = mail.message(body=LINES)
        client.send(
            b"EHLO client.test\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<b@dest.test>\r\nDATA\r\n"
            + content
            + b".\r\n"
        )
        client.sock.shutdown(socket.SHUT_WR)
        codes = [client.reply().code for _ in range(5)]
        assert codes == [250, 250, 250, 354, 250]
        assert client.closed()
    (message,) = sink.wait(1)
    assert mail.after_trace(message.content) == content
    daemon.wait_log(r"lost connection after END-OF-MESSAGE from unknown\[127\.0\.0\.1\]")


@pytest.mark.parametrize(
    "begin_of_it",
    [b"Subject: x\r\n\r\n", b"Subject: endless", b"Subject: x\r\n\r\nrefused\nalready\r\n"],
    ids=["body", "header", "refused"],
)
def test_38_a_message_that_trickles_in_for_ever_ends(lab, begin_of_it):
    daemon = lab.relayd(limits="message_timeout 1s", routes="route default hold")
    with Client(daemon.port) as client:
        begin(client)
        client.send(begin_of_it)
        client.sock.settimeout(0.1)

        def told():
            try:
                client.send(b"x")
                return client.reply()
            except TimeoutError:
                return None

        reply = wait.until(told, "the end of the session", 10)
        assert reply.code == 421
        assert client.closed()
    assert daemon.queue() == []
