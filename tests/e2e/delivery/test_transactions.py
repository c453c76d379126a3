"""How messages travel: connections, transactions, extensions."""

import email
import email.policy

import pytest

from lab import mail, postfix, wait
from lab.client import Client, send


def post(daemon, recipients="b@dest.test", content=None, sender="a@client.test", **args):
    reply = send(daemon.port, sender, recipients, content or mail.message(), **args)
    assert reply.code == 250, reply
    return reply.queue_id


@pytest.mark.asan
def test_one_transaction_carries_all_recipients_of_a_site(relay):
    daemon, sink = relay
    recipients = [f"r{n}@d{n % 3}.test" for n in range(30)]
    post(daemon, recipients)
    (message,) = sink.wait(1)
    assert sorted(message.recipients) == sorted(recipients)


def test_a_site_that_takes_few_recipients_gets_them_in_turns(relay):
    daemon, sink = relay

    def four(session, argument):
        return "452 4.5.3 too many recipients" if len(session.recipients) >= 4 else None

    sink.on("rcpt", four)
    recipients = [f"r{n}@dest.test" for n in range(10)]
    post(daemon, recipients)
    wait.until(lambda: sum(len(m.recipients) for m in sink.messages) == 10, "ten recipients", 30)
    assert sorted(r for m in sink.messages for r in m.recipients) == sorted(recipients)


def test_a_backlog_of_many_recipients(relay):
    daemon, sink = relay
    with Client(daemon.port) as client:
        client.ehlo()
        for batch in range(4):
            recipients = [f"r{batch}-{n}@d{n % 50}.test" for n in range(500)]
            assert client.transaction("a@client.test", recipients, mail.message()).code == 250
    wait.until(lambda: sum(len(m.recipients) for m in sink.messages) >= 2000, "2,000 recipients", 60)
    everyone = [r for m in sink.messages for r in m.recipients]
    assert len(everyone) == len(set(everyone)) == 2000
    daemon.wait_empty()


def test_connections_are_reused(lab):
    sink = lab.sink()
    daemon = lab.relay_to(sink, delivery="connections_per_site 2")
    with Client(daemon.port) as client:
        client.ehlo()
        for _ in range(40):
            assert client.transaction("a@client.test", "b@dest.test", mail.message()).code == 250
    sink.wait(40)
    assert sink.connections <= 8


def test_messages_per_connection_is_kept(lab):
    sink = lab.sink()
    daemon = lab.relay_to(sink, delivery="messages_per_connection 3")
    for _ in range(12):
        post(daemon)
    sink.wait(12)
    per_connection = {}
    for message in sink.messages:
        per_connection[message.connection] = per_connection.get(message.connection, 0) + 1
    assert max(per_connection.values()) <= 3


def test_connections_per_site_is_kept(lab):
    sink = lab.sink()
    open_now, most = set(), []

    def busy(session, argument):
        open_now.add(session.number)
        most.append(len(open_now))
        session.sink.stopping.wait(0.2)
        open_now.discard(session.number)

    sink.on("eod", busy)
    daemon = lab.relay_to(sink, delivery="connections_per_site 3")
    for _ in range(20):
        post(daemon)
    sink.wait(20, timeout=30)
    assert max(most) <= 3


def test_a_server_without_any_extension(lab):
    sink = lab.sink(extensions=())
    daemon = lab.relay_to(sink)
    post(daemon, ["b@dest.test", "c@dest.test"])
    (message,) = sink.wait(1)
    assert message.mail_args == ""


def test_a_server_that_knows_only_helo(lab):
    sink = lab.sink()
    sink.on("ehlo", "502 5.5.1 what?")
    daemon = lab.relay_to(sink)
    post(daemon)
    (message,) = sink.wait(1)
    assert message.helo == "mx.relay.test"


def test_size_and_body_are_declared(relay):
    daemon, sink = relay
    post(daemon, content=mail.message(body="Gr\u00fc\u00dfe\r\n"), mail_args="BODY=8BITMIME")
    (message,) = sink.wait(1)
    args = message.mail_args.upper().split()
    assert "BODY=8BITMIME" in args
    size = next(int(a[5:]) for a in args if a.startswith("SIZE="))
    assert abs(size - len(message.content)) <= 100


def test_a_message_too_large_for_the_site_bounces(lab):
    sink = lab.sink(extensions=("PIPELINING", "SIZE 20000", "8BITMIME"))
    daemon = lab.relay_to(sink)
    post(daemon, content=mail.message(body=mail.big_body(100_000)))
    (message,) = sink.wait(1)
    assert mail.Bounce(message.content).recipient("b@dest.test")["Status"].startswith("5.3.4")


EIGHT_BIT = "Gr\u00fc\u00dfe aus K\u00f6ln\r\n.dot\r\nlong " + "\u00e4" * 300 + "\r\n"


@pytest.mark.parametrize(
    "fields, body",
    [
        (
            {"MIME_Version": "1.0", "Content_Type": "text/plain; charset=utf-8", "Content_Transfer_Encoding": "8bit"},
            EIGHT_BIT,
        ),
        (
            {"MIME_Version": "1.0", "Content_Type": 'multipart/mixed; boundary="=b"'},
            "--=b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
            + EIGHT_BIT
            + "\r\n--=b\r\nContent-Type: text/plain\r\n\r\nplain\r\n--=b--\r\n",
        ),
    ],
    ids=["text", "multipart"],
)
def test_eight_bit_mail_is_recoded_for_a_server_without_8bitmime(lab, fields, body):
    sink = lab.sink(extensions=("PIPELINING",))
    daemon = lab.relay_to(sink)
    content = mail.message(body=body, **fields)
    post(daemon, content=content, mail_args="BODY=8BITMIME")
    (message,) = sink.wait(1)
    assert all(byte < 128 for byte in message.content)
    assert max(len(line) for line in message.content.split(b"\r\n")) <= 998

    def texts(raw):
        parsed = email.message_from_bytes(raw, policy=email.policy.default)
        return [p.get_content() for p in parsed.walk() if p.get_content_maintype() == "text"]

    assert texts(message.content) == texts(content)


def test_mail_without_8bit_passes_unchanged_to_such_a_server(lab):
    sink = lab.sink(extensions=())
    daemon = lab.relay_to(sink)
    content = mail.message(body="plain\r\n", MIME_Version="1.0", Content_Type="text/plain")
    post(daemon, content=content)
    assert mail.after_trace(sink.wait(1)[0].content) == content


def test_41_a_slow_site_does_not_delay_others(lab):
    from lab.sink import HANG

    slow, quick = lab.sink(), lab.sink()
    slow.on("connect", HANG)
    daemon = lab.relayd(
        extra=f"smarthost slow {{ host 127.0.0.1:{slow.port}; tls none }}\n"
        f"smarthost quick {{ host 127.0.0.1:{quick.port}; tls none }}",
        routes="route to slow.test via slow\nroute default via quick",
    )
    for n in range(50):
        post(daemon, f"b{n}@slow.test")
    post(daemon, "b@quick.test")
    quick.wait(1, timeout=5)


@pytest.mark.parametrize("reuse", [True, False])
def test_smtp_source_through_relayd_to_smtp_sink(lab, reuse):
    sink = lab.smtp_sink()
    daemon = lab.relay_to(sink)
    done = postfix.run_smtp_source(daemon.port, 300, *(["-d"] if reuse else []), sessions=20)
    assert done.returncode == 0, done.stderr
    sink.wait(300, timeout=60)
    daemon.wait_empty()
