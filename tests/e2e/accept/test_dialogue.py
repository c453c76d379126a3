"""The server's dialogue over real sockets; every verb's rows are in the transcripts."""

import pytest

from lab import mail, wait
from lab.client import Client, send

DIALOGUE = (
    "EHLO c.test\r\nMAIL FROM:<a@client.test> BODY=8BITMIME\r\nRCPT TO:<b@dest.test>\r\n"
    "RCPT TO:<c@dest.test>\r\nDATA\r\n"
)
CONTENT = b"Subject: x\r\n\r\nbody\r\n..dot\r\n.\r\n"


@pytest.mark.asan
@pytest.mark.parametrize("how", ["burst", "bytes"])
def test_pipelining_and_single_bytes_give_the_same(relay, how):
    daemon, sink = relay
    with Client(daemon.port) as client:
        data = DIALOGUE.encode() + CONTENT + b"RSET\r\nNOOP\r\nVRFY b\r\nHELP\r\nQUIT\r\n"
        client.send(data) if how == "burst" else client.send_slowly(data)
        codes = [client.reply().code for _ in range(11)]
        assert codes == [250, 250, 250, 250, 354, 250, 250, 250, 252, 214, 221]
        assert client.closed()
    (message,) = sink.wait(1)
    assert message.recipients == ["b@dest.test", "c@dest.test"]
    assert message.body == b"body\r\n.dot\r\n"


def test_extensions_on_offer(relay):
    daemon, _ = relay
    with Client(daemon.port) as client:
        client.ehlo()
        assert {"PIPELINING", "SIZE", "8BITMIME", "ENHANCEDSTATUSCODES", "CHUNKING", "LIMITS"} <= set(
            client.extensions
        )


@pytest.mark.parametrize(
    "line, code",
    [
        (b"FOO\r\n", 500),
        (b"\r\n", 500),
        (b"MAIL\r\n", 501),
        (b"MAIL FROM:a b@b.test\r\n", 501),
        (b"MAIL FROM:<a@b.test\r\n", 501),
        (b"MAIL FROM:<a\x00@b.test>\r\n", 501),
        (b"MAIL FROM:<a@b.test> SIZE=abc\r\n", 501),
        (b"MAIL FROM:<a@b.test> NOSUCH=1\r\n", 555),
        (b"RCPT TO:<a@b.test>\r\n", 503),
        (b"DATA\r\n", 503),
        (b"NOOP\x01\r\n", 500),
        (b"EHLO\r\n", 501),
        (b"x" * 3000 + b"\r\n", 500),
        (b"STARTTLS now\r\n", 501),
        (b"AUTH PLAIN AGEAYg==\r\n", 502),
    ],
)
def test_nonsense_is_answered_and_the_session_goes_on(relay, line, code):
    daemon, _ = relay
    with Client(daemon.port) as client:
        if not line.startswith(b"EHLO"):
            client.ehlo()
        reply = client.command(line)
        assert reply.code == code or (reply.code in (500, 501, 502) and code in (500, 501, 502)), reply
        assert client.ehlo().code == 250
        assert client.transaction("a@client.test", "b@dest.test", mail.message()).code == 250


def test_a_session_of_errors_ends(lab):
    daemon = lab.relayd(routes="route default hold", limits="errors 5")
    with Client(daemon.port) as client:
        client.ehlo()
        codes = [client.command("FOO").code for _ in range(6)]
        assert codes[-1] == 421 or client.closed()
        assert client.closed()


def test_recipients_beyond_the_limit_wait_for_another_transaction(lab):
    daemon = lab.relayd(routes="route default hold", limits="recipients 3")
    with Client(daemon.port) as client:
        client.ehlo()
        client.command("MAIL FROM:<a@client.test>")
        codes = [client.command(f"RCPT TO:<r{n}@dest.test>").code for n in range(5)]
        assert codes == [250, 250, 250, 452, 452]
        assert client.command("DATA").code == 354
        assert client.data(mail.message()).code == 250


def test_39_connections_of_one_client_are_limited(lab):
    daemon = lab.relayd(routes="route default hold", limits="connections_per_client 3")
    held = [Client(daemon.port) for _ in range(3)]
    with Client(daemon.port) as fourth:
        assert fourth.greeting.code == 421
    with Client(daemon.port, source="127.0.0.9") as other:
        assert other.greeting.code == 220
    held.pop().quit()

    def again():
        with Client(daemon.port) as client:
            return client.greeting.code == 220

    wait.until(again, "room for a connection again")
    for client in held:
        client.close()


def test_38_an_idle_client_is_told_and_cut(lab):
    daemon = lab.relayd(routes="route default hold", limits="command_timeout 1s")
    with Client(daemon.port) as client:
        assert client.reply().code == 421
        assert client.closed()
    daemon.wait_log(r"timeout after CONNECT from unknown\[127\.0\.0\.1\]")


def test_many_sessions_at_once(relay):
    daemon, sink = relay
    clients = [Client(daemon.port) for _ in range(60)]
    for client in clients:
        client.ehlo()
    ids = set()
    for client in clients:
        ids.add(client.transaction("a@client.test", "b@dest.test", mail.message()).queue_id)
        client.close()
    assert len(ids) == 60 and None not in ids
    sink.wait(60, timeout=30)


def test_ids_never_repeat(lab):
    daemon = lab.relayd(routes="route default discard")
    ids = [send(daemon.port, "a@client.test", "b@dest.test", mail.message()).queue_id for _ in range(50)]
    assert len(set(ids)) == 50
    assert ids == sorted(ids)
