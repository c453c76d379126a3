"""A real Postfix's submission port as smart host: TLS, and a login that a real Dovecot checks."""

import re

import pytest

from lab import mail
from lab.client import send
from lab.submit import b64, plain

USER, PASSWORD, WRONG = "relay@client.test", "c0rrect-horse", "hunter2-hunter2"


class Provider:
    """Postfix as providers run it, and where its mail ends up."""

    def __init__(self, lab, name="127.0.0.1", mechanisms="plain login scram-sha-256", **options):
        self.dovecot = lab.dovecot({USER: PASSWORD}, mechanisms=mechanisms)
        self.sink = lab.sink()
        certificate, key = lab.pki.files(name)
        self.postfix = lab.postfix(
            smtpd_tls_security_level="may",
            smtpd_tls_auth_only="yes",
            smtpd_tls_cert_file=certificate,
            smtpd_tls_key_file=key,
            smtpd_tls_received_header="yes",
            smtpd_sasl_auth_enable="yes",
            smtpd_sasl_type="dovecot",
            smtpd_sasl_path=self.dovecot.socket,
            smtpd_sasl_authenticated_header="yes",
            mynetworks="",
            smtpd_relay_restrictions="permit_sasl_authenticated, reject",
            relayhost=f"[127.0.0.1]:{self.sink.port}",
            smtp_dns_support_level="disabled",
            **options,
        )
        self.port = self.postfix.port


def relay(lab, provider, password=PASSWORD, more="", **options):
    return lab.relayd(
        extra=f"smarthost out {{ host 127.0.0.1:{provider.port}; user {USER}; password {password}; {more} }}",
        routes="route default via out",
        env=lab.pki.env,
        **options,
    )


def post(daemon, content=None):
    reply = send(daemon.port, "a@client.test", ["b@dest.test"], content or mail.message())
    assert reply.code == 250, reply
    return reply.queue_id


def told(*places):
    """Whether a password is found where none may be, in any spelling of the wire."""
    secrets = [s for word in (PASSWORD, WRONG) for s in (word, b64(word), plain(USER, word))]
    return [s for s in secrets for place in places if s in place]


@pytest.mark.parametrize(
    "mechanisms, more, used",
    [
        pytest.param("plain login scram-sha-256", "", "SCRAM-SHA-256", marks=pytest.mark.asan),
        ("plain login scram-sha-256", "auth PLAIN", "PLAIN"),
        ("plain login scram-sha-256", "auth LOGIN", "LOGIN"),
        ("plain", "", "PLAIN"),
        ("login", "", "LOGIN"),
    ],
)
def test_each_mechanism(lab, mechanisms, more, used):
    provider = Provider(lab, mechanisms=mechanisms)
    daemon = relay(lab, provider, more=more)
    content = mail.message(body=mail.big_body(20_000))
    daemon.wait_event(post(daemon, content), "delivered")
    (message,) = provider.sink.wait(1, timeout=30)
    assert (message.mail_from, message.recipients) == ("a@client.test", ["b@dest.test"])
    assert mail.after_trace(message.content) == content
    header = " ".join(message.header.decode().split())
    assert f"(Authenticated sender: {USER})" in header
    assert "by postfix.test (Postfix) with ESMTPSA" in header and "using TLSv1.3" in header
    assert re.search(rf"sasl_method={used}, sasl_username={USER}", provider.postfix.log)
    assert not told(daemon.log, provider.postfix.log)


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_versions_of_tls(lab, version):
    provider = Provider(lab, smtpd_tls_protocols=version)
    daemon = relay(lab, provider)
    daemon.wait_event(post(daemon), "delivered")
    assert f"using {version} with cipher" in " ".join(provider.sink.wait(1, timeout=30)[0].header.decode().split())


@pytest.mark.parametrize("used", ["PLAIN", "LOGIN", "SCRAM-SHA-256"])
def test_a_wrong_password_defers(lab, used):
    provider = Provider(lab)
    daemon = relay(lab, provider, WRONG, f"auth {used}", retry="first 1m; max 1m")
    queue_id = post(daemon)
    reply = daemon.wait_event(queue_id, "deferred")[0]["reply"]
    assert reply["code"] == 535
    assert reply["text"].startswith(f"login with {used} refused: 5.7.8 Error: authentication failed"), reply
    assert "bounced" not in daemon.event_kinds(queue_id)
    daemon.wait_log(rf"smarthost out: 127\.0\.0\.1:{provider.port} fails: login with {used} refused")
    provider.dovecot.wait_log("assword mismatch")
    shown = [daemon.ctl(*what).stdout for what in (["status"], ["queue", "--json"], ["trace", queue_id], ["show", queue_id])]
    assert not told(daemon.log, provider.postfix.log, *shown)
    assert provider.sink.seen == []
    # Put right, the mail that waited goes.
    daemon.write_config(extra=daemon.extra.replace(WRONG, PASSWORD))
    daemon.ctl("reload")
    daemon.ctl("retry", queue_id)
    assert len(provider.sink.wait(1, timeout=30)) == 1
    assert not told(daemon.log)


def test_without_tls_it_does_not_ask(lab):
    """smtpd_tls_auth_only: Postfix hides AUTH from the clear, and relayd does not try."""
    provider = Provider(lab)
    daemon = relay(lab, provider, more="tls none", retry="first 1m; max 1m")
    reply = daemon.wait_event(post(daemon), "deferred")[0]["reply"]
    assert "the server offers none (no AUTH in its reply to EHLO)" in reply["text"]
    assert provider.sink.seen == [] and not told(daemon.log)


def test_another_name_gets_no_password(lab):
    provider = Provider(lab, "other.test")
    daemon = relay(lab, provider, retry="first 1m; max 1m")
    reply = daemon.wait_event(post(daemon), "deferred")[0]["reply"]
    assert reply["status"] == "4.7.5" and "mismatch" in reply["text"]
    assert "sasl_" not in provider.postfix.log and provider.sink.seen == []


def test_a_login_is_one_for_many_messages(lab):
    provider = Provider(lab)
    daemon = relay(lab, provider, more="limit { connections 1 }")
    for _ in range(20):
        post(daemon)
    provider.sink.wait(20, timeout=60)
    daemon.wait_empty()
    connects = len(re.findall(r"smtpd\[\d+\]: connect from", provider.postfix.log))
    assert connects <= 4, connects  # one asked whether Postfix is up
