"""Relaying is for trusted networks; strangers reach our domains and nothing else."""

import pytest

from lab import mail, ports
from lab.client import Client, send
from lab.submit import USER, Submitter, add_user, b64
from lab.tricks import INSIDE, TRICKS

STRANGER = "127.0.0.2"
OURS = "domain dest.test { relay }"


@pytest.fixture
def guarded(lab):
    sink = lab.sink()
    daemon = lab.relayd(
        trusted="127.0.0.1/32",
        extra=f"{OURS}\nsmarthost sink {{ host 127.0.0.1:{sink.port}; tls none }}",
        routes="route default via sink",
    )
    return daemon, sink


@pytest.mark.asan
def test_a_trusted_client_sends_anywhere(guarded):
    daemon, sink = guarded
    assert send(daemon.port, "a@anywhere.test", "b@elsewhere.test", mail.message()).code == 250
    assert sink.wait(1)[0].recipients == ["b@elsewhere.test"]


def test_a_stranger_reaches_our_domain(guarded):
    daemon, sink = guarded
    reply = send(daemon.port, "a@anywhere.test", "b@DEST.test", mail.message(), source=STRANGER)
    assert reply.code == 250
    assert sink.wait(1)[0].recipients[0].lower() == "b@dest.test"


@pytest.mark.parametrize("recipient", TRICKS)
def test_10_a_stranger_does_not_get_through(guarded, recipient):
    daemon, sink = guarded
    with Client(daemon.port, source=STRANGER) as client:
        client.ehlo()
        assert client.command("MAIL FROM:<a@anywhere.test>").code == 250
        reply = client.command(f"RCPT TO:<{recipient}>")
        assert reply.code in (500, 501, 550, 551, 553, 554), reply
        assert client.command("DATA").code in (503, 554)
        assert client.command("NOOP").code == 250
    assert sink.seen == []
    assert daemon.queue() == []


# Ways in for strangers: the listener, whence they connect, and what a front end says first.
DOORS = {
    "repairing": ("repair_line_ends", STRANGER, b"", b""),
    "undeclared": ("proxy_protocol from 127.0.0.9; xclient from 127.0.0.9", STRANGER, b"", b""),
    "behind a front end": ("proxy_protocol from 127.0.0.9", "127.0.0.9", b"PROXY TCP4 127.0.0.2 127.0.0.1 9 25\r\n", b""),
    "unknown to a front end": ("proxy_protocol from 127.0.0.9", "127.0.0.9", b"PROXY UNKNOWN\r\n", b""),
    "with logins": ("login optional", STRANGER, b"", b""),
    "by XCLIENT": ("xclient from 127.0.0.1", "127.0.0.1", b"", b"XCLIENT ADDR=127.0.0.2\r\n"),
}

# When a client names recipients: in the clear, or under TLS by either way.
LINES = ["clear", "starttls", "implicit"]
REFUSED = (500, 501, 550, 551, 553, 554)


def with_tls(lab, listen, **options):
    """A relayd with two listeners alike: daemon.port with STARTTLS, daemon.implicit with TLS at once."""
    implicit = ports.free()
    extra = f"{options.pop('extra', '')}\nlisten 127.0.0.1:{implicit} {{ {listen}; tls implicit }}"
    daemon = lab.relayd(listen=f"{listen}; tls optional", extra=extra, routes="route default hold", **options)
    daemon.implicit = implicit
    return daemon


def enter(daemon, line, source=None, header=b"", before=b""):
    """A client who has said EHLO, and all that comes before it."""
    client = Submitter(daemon.implicit if line == "implicit" else daemon.port, source=source, greet=False)
    client.send(header)
    if line == "implicit":
        client.tls()
    assert client.reply().code == 220
    client.ehlo()
    if line == "starttls":
        client.starttls()
    if before:
        assert client.command(before).code == 220
        client.ehlo()
    return client


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("door", DOORS)
def test_10_no_door_lets_a_stranger_through(lab, door, line):
    listen, *way = DOORS[door]
    daemon = with_tls(
        lab,
        listen,
        trusted="127.0.0.1/32, 127.0.0.9/32",
        limits="errors 10000; idle_commands 10000",
        extra=f"""{OURS}
            postmaster pm@dest.test
            domain alias.test {{ alias b b@dest.test }}
            domain catch.test {{ catch_all b@dest.test }}
            domain listed.test {{ relay; recipients b }}""",
    )
    with enter(daemon, line, *way) as client:
        for recipient in TRICKS + INSIDE:
            for args in ("", " SMTPUTF8"):
                assert client.command(f"MAIL FROM:<a@anywhere.test>{args}").code == 250
                reply = client.command(f"RCPT TO:<{recipient}>")
                assert reply.code in REFUSED, (recipient, args, reply)
                client.command("RSET")
        reply = client.transaction("a@anywhere.test", "B+tag@alias.test", mail.message())
        assert reply.code == 250
    assert list(daemon.recipients(reply.queue_id)) == ["b@dest.test"]


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("login", ["required", "unless_trusted"])
def test_10_without_a_login_nothing_is_submitted(lab, login, line):
    """Not even to our domain; and a login that failed or was given up is none."""
    daemon = with_tls(
        lab,
        f"role submission; login {login}",
        trusted="127.0.0.1/32" if login == "required" else "none",
        limits="errors 10000; idle_commands 10000",
        extra=OURS,
    )
    add_user(daemon)

    def refused(client):
        for sender in ("", USER, "a@anywhere.test", "root@mx.relay.test"):
            assert client.command(f"MAIL FROM:<{sender}>").code == 530
            assert client.command("RCPT TO:<b@dest.test>").code in (503, 530)
        for recipient in TRICKS:
            reply = client.command(f"RCPT TO:<{recipient}>")
            assert reply.code in (500, 503, 530), (recipient, reply)
        assert client.command("DATA").code in (503, 530)
        assert client.command("BDAT 5 LAST\r\nevil\n".encode()).code in (503, 530)

    with enter(daemon, line) as client:
        refused(client)
        assert client.login(password="not this one").code == (538 if line == "clear" else 535)
        refused(client)
        if line != "clear":
            assert client.command("AUTH LOGIN").code == 334
            assert client.command(b64(USER)).code == 334
            assert client.command("*").code == 501
            refused(client)
    assert daemon.queue() == []


def test_10_without_a_login_in_the_clear_nothing_is_submitted(lab):
    daemon = lab.relayd(trusted="none", listen="role submission; login required; tls none", routes="route default hold")
    with Client(daemon.port) as client:
        client.ehlo()
        for sender in ("", "a@anywhere.test", "root@mx.relay.test"):
            assert client.command(f"MAIL FROM:<{sender}>").code == 530
            assert client.command("RCPT TO:<b@elsewhere.test>").code in (503, 530)


@pytest.mark.parametrize("sender", ["", "x@dest.test", "postmaster@dest.test", "root@mx.relay.test"])
def test_a_forged_sender_is_no_key(guarded, sender):
    daemon, _ = guarded
    reply = send(daemon.port, sender, "b@elsewhere.test", mail.message(), source=STRANGER)
    assert reply.code == 550
    assert reply.enhanced == "5.7.1"
    daemon.wait_log(r"NOQUEUE: reject: RCPT from .*127\.0\.0\.2")


@pytest.mark.parametrize(
    "before",
    [
        b"PROXY TCP4 127.0.0.1 127.0.0.1 1 25\r\n",
        b"XCLIENT ADDR=127.0.0.1\r\n",
        b"XFORWARD ADDR=127.0.0.1\r\n",
        b"EHLO [127.0.0.1]\r\n",
        b"EHLO localhost\r\n",
    ],
)
def test_11_claims_about_the_client_are_ignored(guarded, before):
    daemon, _ = guarded
    with Client(daemon.port, source=STRANGER) as client:
        client.command(before)
        client.ehlo()
        client.command("MAIL FROM:<a@anywhere.test>")
        assert client.command("RCPT TO:<b@elsewhere.test>").code == 550


def test_without_trusted_only_loopback_listeners_trust_loopback(lab):
    sink = lab.sink()
    daemon = lab.relay_to(sink, trusted=None)
    assert send(daemon.port, "a@b.test", "c@d.test", mail.message(), source=STRANGER).code == 250


def test_trusted_none_trusts_nobody(lab):
    daemon = lab.relayd(trusted="none", routes="route default hold")
    assert send(daemon.port, "a@b.test", "c@d.test", mail.message()).code == 550


@pytest.mark.parametrize(
    "directives, recipient",
    [
        ("domain first.test\ndomain dest.test { relay }\ndomain last.test { relay }", "postmaster@dest.test"),
        ("domain dest.test { relay }\npostmaster admin@elsewhere.test", "admin@elsewhere.test"),
        ("domain first.test", None),
    ],
)
def test_the_postmaster_without_a_domain(lab, directives, recipient):
    daemon = lab.relayd(trusted="none", extra=directives, routes="route default hold")
    with Client(daemon.port) as client:
        client.ehlo()
        reply = client.transaction("", "PostMaster", mail.message())
    if recipient is None:
        assert reply.code == 550
    else:
        assert list(daemon.recipients(reply.queue_id)) == [recipient]
