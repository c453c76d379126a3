"""Addresses and headers in other scripts (RFC 6531), end to end."""

import email.message
import email.policy
import smtplib

import pytest

from lab import mail
from lab.client import Client, send
from lab.sink import Sink

WITH_UTF8 = (*Sink.EXTENSIONS, "SMTPUTF8")


def usual(lab, extensions=WITH_UTF8, back_extensions=WITH_UTF8):
    far, back = lab.sink(extensions=extensions), lab.sink(name="back.test", extensions=back_extensions)
    daemon = lab.relayd(
        extra=f"smarthost far {{ host 127.0.0.1:{far.port}; tls none }}\n"
        f"smarthost back {{ host 127.0.0.1:{back.port}; tls none }}",
        routes="route to client.test via back\nroute to bücher.example via far\nroute default via far",
    )
    return daemon, far, back


def written(sender="grün@client.test", to="empfänger@dest.test", subject="Grüße"):
    message = email.message.EmailMessage(policy=email.policy.SMTPUTF8)
    message["From"], message["To"], message["Subject"] = sender, to, subject
    message["Date"], message["Message-ID"] = "Mon, 02 Feb 2026 10:00:00 +0000", "<utf8@client.test>"
    message.set_content("Viele Grüße.\n", cte="8bit")
    return message


@pytest.mark.asan
def test_python_sends_it_and_it_arrives(lab):
    daemon, far, _ = usual(lab)
    message = written()
    with smtplib.SMTP("127.0.0.1", daemon.port) as client:
        client.send_message(message)
    (seen,) = far.wait(1)
    assert seen.mail_from == "grün@client.test"
    assert seen.recipients == ["empfänger@dest.test"]
    assert "SMTPUTF8" in seen.mail_args.split() and "BODY=8BITMIME" in seen.mail_args.split()
    assert mail.after_trace(seen.content) == message.as_bytes()
    assert b"with UTF8SMTP " in seen.header.replace(b"\r\n\t", b" ")


def test_it_waits_through_a_crash(lab):
    daemon, far, _ = usual(lab)
    far.on("mail", "451 4.3.0 later")
    with smtplib.SMTP("127.0.0.1", daemon.port) as client:
        client.send_message(written())
    daemon.wait_log("status=deferred")
    daemon.crash()
    far.on("mail", None)
    daemon.start()
    (seen,) = far.wait(1)
    assert "SMTPUTF8" in seen.mail_args.split()
    assert seen.recipients == ["empfänger@dest.test"]


def test_without_it_other_scripts_are_refused(relay):
    daemon, _ = relay
    with Client(daemon.port) as client:
        client.ehlo()
        assert "SMTPUTF8" in client.extensions
        reply = client.command("MAIL FROM:<grün@client.test>")
        assert (reply.code, reply.enhanced) == (553, "5.6.7")
        assert client.command("MAIL FROM:<a@client.test>").code == 250
        reply = client.command("RCPT TO:<grün@dest.test>")
        assert (reply.code, reply.enhanced) == (553, "5.6.7")


def test_a_hop_without_it_gets_no_such_message(lab):
    daemon, far, back = usual(lab, extensions=Sink.EXTENSIONS)
    with smtplib.SMTP("127.0.0.1", daemon.port) as client:
        client.send_message(written())
    (report,) = back.wait(1)
    assert report.recipients == ["grün@client.test"]
    assert "SMTPUTF8" in report.mail_args.split()  # the notice itself needs it
    assert far.seen == []
    assert b"\r\nStatus: 5.6.7\r\n" in report.content
    assert "Final-Recipient: utf-8; empf\\x{E4}nger@dest.test".encode() in report.content
    assert b"Content-Type: message/global\r\n" in report.content
    assert "Subject: Grüße".encode() in report.content


def test_a_header_alone_needs_it(lab):
    daemon, far, back = usual(lab, extensions=Sink.EXTENSIONS)
    content = written("a@client.test", "b@dest.test").as_bytes()
    assert send(daemon.port, "a@client.test", "b@dest.test", content, mail_args="SMTPUTF8 BODY=8BITMIME").code == 250
    (report,) = back.wait(1)
    assert report.recipients == ["a@client.test"] and "SMTPUTF8" not in report.mail_args
    assert mail.Bounce(report.content).recipient("b@dest.test")["Status"] == "5.6.7"
    assert far.seen == []


def test_a_domain_alone_does_not(lab):
    daemon, far, _ = usual(lab, extensions=Sink.EXTENSIONS)
    reply = send(daemon.port, "a@bücher.example", "b@BÜCHER.example", mail.message(), mail_args="SMTPUTF8")
    assert reply.code == 250
    (seen,) = far.wait(1)
    assert seen.mail_from == "a@xn--bcher-kva.example"
    assert seen.recipients == ["b@xn--bcher-kva.example"]
    assert "SMTPUTF8" not in seen.mail_args


def test_one_recipient_of_several_needs_it(lab):
    daemon, far, back = usual(lab, extensions=Sink.EXTENSIONS)
    reply = send(daemon.port, "a@client.test", ["b@dest.test", "ü@dest.test"], mail.message(), mail_args="SMTPUTF8")
    assert reply.code == 250
    (seen,) = far.wait(1)
    assert seen.recipients == ["b@dest.test"]
    (report,) = back.wait(1)
    assert b"\\x{FC}@dest.test" in report.content


def test_asked_for_and_not_needed(lab):
    daemon, far, _ = usual(lab, extensions=Sink.EXTENSIONS)
    assert send(daemon.port, "a@client.test", "b@dest.test", mail.message(), mail_args="SMTPUTF8").code == 250
    assert "SMTPUTF8" not in far.wait(1)[0].mail_args


def test_bytes_over_127_in_a_header_pass_as_they_came(lab):
    daemon, far, _ = usual(lab, extensions=Sink.EXTENSIONS)
    content = mail.message(subject="x").replace(b"Subject: x", "Subject: Grüße".encode("latin-1"))
    assert send(daemon.port, "a@client.test", "b@dest.test", content, mail_args="BODY=8BITMIME").code == 250
    assert mail.after_trace(far.wait(1)[0].content) == content


def test_postfix_takes_it(lab):
    server = lab.postfix(smtpd_client_restrictions="static:HOLD", smtputf8_enable="yes")
    daemon = lab.relayd(
        extra=f"smarthost next {{ host 127.0.0.1:{server.port}; tls none }}", routes="route default via next"
    )
    with smtplib.SMTP("127.0.0.1", daemon.port) as client:
        client.send_message(written())
    (held,) = server.held(1)
    envelope = server.envelopes()[0]
    assert "sender: grün@client.test" in envelope and "recipient: empfänger@dest.test" in envelope
    assert "Subject: Grüße".encode() in held
