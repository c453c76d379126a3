"""Who may send through a listener for submission, and how he says who he is."""

import base64
import smtplib
import time

import pytest

from lab import mail, submit, tools
from lab.submit import PASSWORD, USER, Submitter, b64, plain

CONTENT = mail.message(sender=USER)


def log_in(daemon, *args, **options):
    with Submitter(daemon.port) as client:
        client.ehlo()
        return client.login(*args, **options)


@pytest.mark.asan
def test_nobody_sends_without(submission):
    # The laboratory trusts all of loopback; here that counts for nothing.
    daemon, sink = submission()
    with Submitter(daemon.port) as client:
        client.ehlo()
        assert client.extensions["AUTH"].split() == ["SCRAM-SHA-256", "PLAIN", "LOGIN"]
        assert client.transaction(USER, "b@dest.test", CONTENT).code == 530
        assert client.login().code == 235
        reply = client.transaction(USER, "b@dest.test", CONTENT)
        assert reply.code == 250
        assert client.command(f"AUTH PLAIN {plain()}").code == 503
        client.ehlo()
        assert "AUTH" not in client.extensions
    (message,) = sink.wait(1)
    assert b" with ESMTPA id " in message.header.replace(b"\r\n\t", b" ")
    line = daemon.wait_log(rf"{reply.queue_id}: client=.*").group()
    assert line.endswith(f"client=unknown[127.0.0.1], sasl_method=PLAIN, sasl_username={USER}")


def test_unless_trusted(submission):
    daemon, sink = submission("tls none; login unless_trusted", trusted="127.0.0.3/32")
    with Submitter(daemon.port, source="127.0.0.3") as client:
        client.ehlo()
        assert client.transaction("x@any.test", "b@dest.test", CONTENT).code == 250
    with Submitter(daemon.port, source="127.0.0.4") as client:
        client.ehlo()
        assert client.transaction("x@any.test", "b@dest.test", CONTENT).code == 530


@pytest.mark.asan
def test_scram(submission):
    daemon, sink = submission()
    with Submitter(daemon.port) as client:
        client.ehlo()
        assert client.scram().code == 235
        assert client.transaction(USER, "b@dest.test", CONTENT).code == 250
    daemon.wait_log(f"sasl_method=SCRAM-SHA-256, sasl_username={USER}")
    with Submitter(daemon.port) as client:
        client.ehlo()
        assert client.scram(password="wrong").code == 535
        assert client.scram(proof=b64(b"x" * 32)).code == 535
        assert client.scram(user="nobody@shop.test").code == 535
        assert client.scram().code == 235


def test_login_by_steps(submission):
    daemon, _ = submission()
    with Submitter(daemon.port) as client:
        client.ehlo()
        reply = client.command("AUTH LOGIN")
        assert reply.code == 334 and base64.b64decode(reply.text).lower().startswith(b"user")
        reply = client.command(b64(USER))
        assert reply.code == 334 and base64.b64decode(reply.text).lower().startswith(b"pass")
        assert client.command(b64(PASSWORD)).code == 235
    with Submitter(daemon.port) as client:
        client.ehlo()
        assert client.command("AUTH PLAIN").code == 334
        assert client.command(plain()).code == 235


def test_given_up_and_malformed(submission):
    daemon, _ = submission()
    with Submitter(daemon.port) as client:
        client.ehlo()
        client.command("AUTH LOGIN")
        assert client.command("*").enhanced == "5.7.0"
        client.command("AUTH LOGIN")
        assert client.command("no base64!").enhanced == "5.5.2"
        assert client.command("AUTH PLAIN no-base64").enhanced == "5.5.2"
        client.command("AUTH LOGIN")
        assert client.command("A" * 12284).code in (334, 535, 454, 501)
        assert client.command("AUTH CRAM-MD5").code == 504
        assert client.login().code == 235


def test_wrong_passwords_look_alike(submission):
    daemon, _ = submission()
    texts, times = set(), {"wrong": [], "unknown": []}
    for attempt in range(3):
        for kind, user in ("wrong", USER), ("unknown", f"nobody{attempt}@shop.test"):
            # From an address of its own: failures are slowed by address and user.
            with Submitter(daemon.port, source=f"127.0.{attempt + 1}.{5 if kind == 'wrong' else 6}") as client:
                client.ehlo()
                begun = time.monotonic()
                reply = client.login(user, "not the password")
                times[kind].append(time.monotonic() - begun)
                texts.add((reply.code, reply.text))
    assert len(texts) == 1 and texts.pop()[0] == 535
    # A user who is not there costs the same hashing: no answer at once.
    assert min(times["unknown"]) > min(times["wrong"]) / 3, times
    assert daemon.wait_log(r"SASL PLAIN authentication failed")


def test_secrets_are_not_logged(submission):
    daemon, _ = submission()
    secret = "hunter2 hunter2"
    log_in(daemon, USER, secret)
    with Submitter(daemon.port) as client:
        client.ehlo()
        # A client that does not wait for the refusal of its AUTH.
        client.send(f"AUTH CRAM-MD5\r\n{b64(USER)}\r\n{b64(secret)}\r\nAUTH PLAIN {plain(USER, secret)} x\r\n")
        for code in (504, 500, 500, 501):
            assert client.reply().code == code
        client.send(f"AUTH PLAIN\t{plain(USER, secret)}\r\n")
        assert client.reply().code == 500
    daemon.wait_log("SASL PLAIN authentication failed")
    for word in secret, b64(secret), plain(USER, secret), PASSWORD, b64(PASSWORD):
        assert word not in daemon.log


def test_not_in_the_clear_elsewhere(lab):
    """A relay listener has no AUTH unless it says so."""
    daemon = lab.relayd(routes="route default hold")
    with Submitter(daemon.port) as client:
        client.ehlo()
        assert "AUTH" not in client.extensions
        assert client.login().code == 502


def test_optional_on_a_relay(lab):
    sink = lab.sink()
    daemon = lab.relay_to(sink, listen="tls none; login optional", trusted="none")
    submit.add_user(daemon)
    with Submitter(daemon.port) as client:
        client.ehlo()
        assert client.transaction(USER, "b@dest.test", CONTENT).code == 550
        client.command("RSET")
        assert client.login().code == 235
        assert client.transaction(USER, "b@dest.test", CONTENT).code == 250
    sink.wait(1)


# ---- programs nobody here wrote


@pytest.mark.parametrize("method", ["PLAIN", "LOGIN"])
def test_swaks(submission, method):
    daemon, sink = submission()
    done = tools.swaks(daemon.port, USER, "b@dest.test", "--auth", method, "--auth-user", USER, "--auth-password", PASSWORD)
    assert done.returncode == 0, done.stdout
    sink.wait(1)
    done = tools.swaks(daemon.port, USER, "b@dest.test", "--auth", method, "--auth-user", USER, "--auth-password", "no")
    assert done.returncode == 28, done.stdout


def test_curl(submission, folder):
    daemon, sink = submission()
    (folder / "m.eml").write_bytes(CONTENT)
    done = tools.curl(daemon.port, USER, "b@dest.test", folder / "m.eml", "--user", f"{USER}:{PASSWORD}")
    assert done.returncode == 0, done.stderr
    sink.wait(1)
    done = tools.curl(daemon.port, USER, "b@dest.test", folder / "m.eml", "--user", f"{USER}:no")
    assert done.returncode == 67, done.stderr


@pytest.mark.parametrize("method", ["plain", "login", "scram-sha-256"])
def test_msmtp(submission, folder, method):
    daemon, sink = submission()
    done = submit.msmtp(folder, daemon.port, USER, ["b@dest.test"], CONTENT, tls=False, method=method)
    if b"not supported" in done.stderr or b"not compiled" in done.stderr:
        pytest.skip(f"this msmtp has no {method}")
    assert done.returncode == 0, done.stderr
    sink.wait(1)
    done = submit.msmtp(folder, daemon.port, USER, ["b@dest.test"], CONTENT, tls=False, method=method, password="no")
    assert done.returncode == 77, done.stderr


def test_smtplib(submission):
    daemon, sink = submission()
    with smtplib.SMTP("127.0.0.1", daemon.port) as client:
        client.login(USER, PASSWORD)
        client.sendmail(USER, ["b@dest.test"], CONTENT)
    sink.wait(1)
    with smtplib.SMTP("127.0.0.1", daemon.port) as client, pytest.raises(smtplib.SMTPAuthenticationError):
        client.login(USER, "no")


def test_nodemailer(submission):
    daemon, sink = submission()
    message = {"from": f"The Shop <{USER}>", "to": "b@dest.test", "bcc": "c@dest.test", "subject": "Grüße", "text": "Hallo"}
    done = submit.nodemailer(daemon.port, message)
    assert done.returncode == 0, done.stderr
    (sent,) = sink.wait(1)
    assert sorted(sent.recipients) == ["b@dest.test", "c@dest.test"]
    assert b"c@dest.test" not in sent.content
    done = submit.nodemailer(daemon.port, message, password="no")
    assert done.returncode == 1 and "535" in done.stderr
