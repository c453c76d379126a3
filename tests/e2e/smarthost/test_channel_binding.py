"""Logging in at a second relayd, and somebody in between whose certificate is accepted."""

import re

import pytest

from lab import mail, ports, wait
from lab.between import strike
from lab.client import send

USER, PASSWORD = "relay@client.test", "c0rrect-horse"
PLUS, SCRAM = "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"
DOUBT = "(the password is wrong, or somebody between here and the server ends the TLS of both)"


class Far:
    """The server we log in at: what it takes goes to a sink."""

    def __init__(self, lab):
        self.port = ports.free()
        self.sink = lab.sink()
        certificate, key = lab.pki.files("127.0.0.1")
        key.chmod(0o600)
        self.daemon = lab.relayd(
            name="far", hostname="far.test", trusted=None,
            extra=f"tls {{ certificate {certificate}; key {key} }}\n"
            f"listen 127.0.0.1:{self.port} {{ role submission; tls implicit }}\n"
            f"smarthost sink {{ host 127.0.0.1:{self.sink.port}; tls none }}",
            routes="route default via sink",
        )  # fmt: skip
        self.daemon.ctl("user", "add", USER, "--password-stdin", input=PASSWORD + "\n")


@pytest.fixture
def far(lab):
    return Far(lab)


@pytest.fixture
def man(lab, far):
    return lab.between(far.port, lab.pki.server("127.0.0.1"))


def near(lab, port, more=""):
    return lab.relayd(
        name="near",
        extra=f"smarthost far {{ host 127.0.0.1:{port}; tls verified implicit; "
        f"user {USER}; password {PASSWORD}; {more} }}",
        routes="route default via far",
        env=lab.pki.env,
    )


def post(daemon):
    reply = send(daemon.port, USER, ["b@dest.test"], mail.message())
    assert reply.code == 250, reply
    return reply.queue_id


def deferred(daemon, queue_id):
    return daemon.wait_event(queue_id, "deferred")[0]["reply"]


def tried_in_vain(man, far, mechanisms):
    """More than once, by these mechanisms alone; no mail and no password went to anybody."""
    wait.until(lambda: man.connections >= 2, "it is tried again")
    said = [line for line in man.heard if line.startswith(b"AUTH ")]
    assert {line.split()[1].decode() for line in said} == set(mechanisms)
    assert not any(PASSWORD.encode() in line or line.startswith(b"MAIL") for line in man.heard)
    assert far.sink.seen == []


@pytest.mark.asan
@pytest.mark.parametrize("auth", ["", f"auth {PLUS}"])
def test_bound_to_the_connection(lab, far, auth):
    daemon = near(lab, far.port, auth)
    queue_id = post(daemon)
    far.sink.wait(1)
    far.daemon.wait_log(rf"sasl_method={PLUS}, sasl_username={re.escape(USER)}")
    assert daemon.wait_event(queue_id, "delivered")[0]["tls"].startswith("TLSv1.3")
    assert PASSWORD not in daemon.log + far.daemon.log


@pytest.mark.parametrize("auth", ["", f"auth {PLUS}", f"auth {PLUS}, {SCRAM}"])
def test_somebody_in_between(lab, far, man, auth):
    """The login is bound to another connection than the server's, and nothing weaker is tried."""
    daemon = near(lab, man.port, auth)
    reply = deferred(daemon, post(daemon))
    assert reply["code"] == 535
    assert reply["text"].startswith(f"login with {PLUS} refused: ") and reply["text"].endswith(DOUBT)
    tried_in_vain(man, far, [PLUS])


@pytest.mark.parametrize("auth", ["", f"auth {PLUS}, {SCRAM}"])
def test_who_strikes_plus_from_the_offer_is_noticed(lab, far, man, auth):
    man.edit = strike(PLUS)
    daemon = near(lab, man.port, auth)
    reply = deferred(daemon, post(daemon))
    assert reply["text"].startswith(f"login with {SCRAM} refused: ") and reply["text"].endswith(DOUBT)
    tried_in_vain(man, far, [SCRAM])
    assert any(line.startswith(b"AUTH SCRAM-SHA-256 y,,n=") for line in man.heard)
    far.daemon.wait_log("channel binding was stripped from the offer: somebody is in between")


def test_who_refuses_plus_in_the_servers_name_is_noticed(lab, far, man):
    man.answer = lambda line: b"504 5.5.4 never heard of it\r\n" if PLUS.encode() in line else None
    daemon = near(lab, man.port, f"auth {PLUS}, {SCRAM}")
    assert f"login with {SCRAM} refused: " in deferred(daemon, post(daemon))["text"]
    tried_in_vain(man, far, [PLUS, SCRAM])
    far.daemon.wait_log("channel binding was stripped from the offer: somebody is in between")


@pytest.mark.parametrize("auth, struck", [(f"auth {PLUS}", [PLUS]), (f"auth {PLUS}, {SCRAM}", [PLUS, SCRAM])])
def test_nothing_weaker_than_the_configuration_says(lab, far, man, auth, struck):
    man.edit = strike(*struck)
    daemon = near(lab, man.port, auth)
    text = deferred(daemon, post(daemon))["text"]
    assert text.startswith("no way to log in that the configuration allows; the server offers: ") and "PLAIN" in text
    tried_in_vain(man, far, [])


def test_what_does_not_protect(lab, far, man):
    """As the manual says: by default the server's offer decides, and it came through him."""
    man.edit = strike(PLUS, SCRAM)
    post(near(lab, man.port))
    far.sink.wait(1)
    assert any(line.startswith(b"AUTH PLAIN ") and line.endswith(PASSWORD.encode()) for line in man.heard)


def test_scram_alone_keeps_the_password_and_not_the_mail(lab, far, man):
    post(near(lab, man.port, f"auth {SCRAM}"))
    far.sink.wait(1)
    assert any(line.startswith(b"AUTH SCRAM-SHA-256 n,,n=") for line in man.heard)
    assert not any(PASSWORD.encode() in line for line in man.heard)
