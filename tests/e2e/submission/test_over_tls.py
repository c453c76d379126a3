"""Logins as they should be: over TLS, by STARTTLS and from the first byte."""

import smtplib
import ssl

import pytest

from lab import mail, ports, submit, tools
from lab.submit import PASSWORD, USER, Submitter, plain

CONTENT = mail.message(sender=USER)


def careless():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@pytest.fixture
def server(submission):
    """(relayd, sink, port with TLS from the first byte); the first port has STARTTLS. The
    certificate is the one relayd makes itself."""
    implicit = ports.free()
    daemon, sink = submission(
        "tls required", extra=f"listen 127.0.0.1:{implicit} {{ role submission; tls implicit }}"
    )
    yield daemon, sink, implicit
    ports.release(implicit)


@pytest.mark.asan
def test_nothing_in_the_clear(server):
    daemon, sink, _ = server
    with Submitter(daemon.port) as client:
        client.ehlo()
        assert "STARTTLS" in client.extensions and "AUTH" not in client.extensions
        reply = client.login()
        assert reply.code in (530, 538) and "STARTTLS" in reply.text
        assert client.command(f"MAIL FROM:<{USER}>").code == 530
        client.starttls()
        offered = client.extensions["AUTH"].split()
        assert "PLAIN" in offered and "SCRAM-SHA-256" in offered and "STARTTLS" not in client.extensions
        assert client.command(f"MAIL FROM:<{USER}>").code == 530
        assert client.login().code == 235
        assert client.transaction(USER, "b@dest.test", CONTENT).code == 250
    header = sink.wait(1)[0].header.replace(b"\r\n\t", b" ")
    assert b" with ESMTPSA (TLSv1.3 TLS_" in header


def test_17_injected_login(server):
    """Bytes behind STARTTLS are nobody's login."""
    daemon, sink, _ = server
    with Submitter(daemon.port) as client:
        client.ehlo()
        client.send(f"STARTTLS\r\nAUTH PLAIN {plain()}\r\n")
        assert client.reply().code == 554
        assert client.closed()
    assert "sasl_username" not in daemon.log


def test_scram_over_tls(server):
    daemon, _, implicit = server
    with Submitter(daemon.port) as client:
        client.ehlo()
        client.starttls()
        assert client.scram().code == 235
    with Submitter(implicit, greet=False) as client:
        client.tls()
        assert client.reply().code == 220
        client.ehlo()
        assert client.scram(password="no").code == 535
        assert client.scram().code == 235


def test_a_login_for_a_relay(lab):
    """role relay with login optional: strangers may log in under TLS, and only there."""
    sink = lab.sink()
    daemon = lab.relay_to(sink, listen="login optional", trusted="none")
    submit.add_user(daemon)
    with Submitter(daemon.port) as client:
        client.ehlo()
        assert client.login().code == 538
        client.starttls()
        assert client.transaction(USER, "b@dest.test", CONTENT).code == 550
        client.command("RSET")
        assert client.login().code == 235
        assert client.transaction(USER, "b@dest.test", CONTENT).code == 250
    sink.wait(1)


@pytest.mark.parametrize("method", ["PLAIN", "LOGIN"])
def test_swaks(server, method):
    daemon, sink, implicit = server
    who = ["--auth", method, "--auth-user", USER, "--auth-password", PASSWORD]
    for port, how in (daemon.port, "--tls"), (implicit, "--tls-on-connect"):
        done = tools.swaks(port, USER, "b@dest.test", how, *who)
        assert done.returncode == 0, done.stdout
    sink.wait(2)


def test_curl(server, folder):
    daemon, sink, _ = server
    (folder / "m.eml").write_bytes(CONTENT)
    done = tools.curl(
        daemon.port, USER, "b@dest.test", folder / "m.eml", "--ssl-reqd", "--insecure", "--user", f"{USER}:{PASSWORD}"
    )
    assert done.returncode == 0, done.stderr
    sink.wait(1)


def test_msmtp(server, folder):
    daemon, sink, _ = server
    done = submit.msmtp(folder, daemon.port, USER, ["b@dest.test"], CONTENT, tls=True)
    assert done.returncode == 0, done.stderr
    sink.wait(1)


def test_smtplib(server):
    daemon, sink, implicit = server
    with smtplib.SMTP("127.0.0.1", daemon.port) as client:
        client.starttls(context=careless())
        client.login(USER, PASSWORD)
        client.sendmail(USER, ["b@dest.test"], CONTENT)
    with smtplib.SMTP_SSL("127.0.0.1", implicit, context=careless()) as client:
        client.login(USER, PASSWORD)
        client.sendmail(USER, ["b@dest.test"], CONTENT)
    sink.wait(2)


def test_nodemailer(server):
    daemon, sink, implicit = server
    message = {"from": USER, "to": "b@dest.test", "subject": "hello", "text": "Hello"}
    for port, secure in (daemon.port, False), (implicit, True):
        done = submit.nodemailer(port, message, secure=secure, tls=True)
        assert done.returncode == 0, done.stderr
    sink.wait(2)
