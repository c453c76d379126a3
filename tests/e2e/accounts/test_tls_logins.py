"""Logins that only TLS makes possible: channel binding and client certificates."""

import base64
import shutil
import smtplib
import ssl
import subprocess
from pathlib import Path

import pytest

from lab import ports
from lab.pki import Pki

NAME = "mx.relay.test"
SCRAM_PLUS = Path(__file__).parent / "scram_plus.pl"


@pytest.fixture
def pki(folder):
    return Pki(folder / "certificates")


@pytest.fixture
def daemon(lab, pki):
    """Logins are taken at daemon.tls_port, behind TLS."""
    certificate, key = pki.issue(NAME)
    port = ports.free()
    d = lab.relayd(
        extra=f"tls {{ certificate {certificate}; key {key} }}\n"
        f"listen 127.0.0.1:{port} {{ role submission; tls implicit; client_certificates {pki.ca_file} }}",
    )
    d.tls_port = port
    d.ctl("user", "add", "joe@example.com", "--password-stdin", input="secret\n")
    return d


def context(pki, certificate=None):
    made = ssl.create_default_context(cafile=str(pki.ca_file))
    made.check_hostname = False
    if certificate:
        made.load_cert_chain(*map(str, certificate))
    return made


def session(d, pki, certificate=None):
    smtp = smtplib.SMTP_SSL("127.0.0.1", d.tls_port, context=context(pki, certificate), timeout=30)
    smtp.ehlo("client.test")
    return smtp


def offered(smtp):
    return smtp.esmtp_features.get("auth", "").split()


def scram(d, mechanism, header, binding, password="secret"):
    if not shutil.which("perl"):
        pytest.skip("no perl")
    done = subprocess.run(
        ["perl", SCRAM_PLUS, str(d.tls_port), "joe@example.com", password, mechanism, header, binding],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_channel_binding(daemon, pki):
    with session(daemon, pki) as smtp:
        assert offered(smtp) == ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"]
    bound = "p=tls-exporter,,"
    assert scram(daemon, "SCRAM-SHA-256-PLUS", bound, "right") == 235
    assert scram(daemon, "SCRAM-SHA-256", "n,,", "none") == 235
    assert scram(daemon, "SCRAM-SHA-256-PLUS", bound, "right", "wrong") == 535
    assert scram(daemon, "SCRAM-SHA-256-PLUS", bound, "wrong") == 535
    assert scram(daemon, "SCRAM-SHA-256", "y,,", "none") == 535  # somebody hid -PLUS from the client


def external(smtp, authzid=""):
    return smtp.docmd("AUTH", "EXTERNAL " + (base64.b64encode(authzid.encode()).decode() or "="))[0]


def test_client_certificate(daemon, pki):
    joe = pki.issue("joe", email="joe@example.com")
    with session(daemon, pki, joe) as smtp:
        assert offered(smtp)[0] == "EXTERNAL"
        assert external(smtp) == 235
    with session(daemon, pki, joe) as smtp:
        assert external(smtp, "joe@example.com") == 235
    with session(daemon, pki, joe) as smtp:
        assert external(smtp, "ann@example.com") == 535
    with session(daemon, pki, pki.issue("eve", email="eve@example.com")) as smtp:
        assert external(smtp) == 535  # no such user
    with session(daemon, pki) as smtp:
        assert "EXTERNAL" not in offered(smtp)
        assert external(smtp, "joe@example.com") == 504
