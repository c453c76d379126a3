"""TLS towards clients: STARTTLS and implicit, as programs of the world speak it."""

import re
import shutil
import smtplib
import ssl
import stat
import subprocess

import pytest

from lab import mail, ports, tools, wait
from lab.client import Client
from lab.pki import Pki

NAME = "mx.relay.test"


class Site:
    """A relayd with certificates, a STARTTLS port and an implicit one, and a sink behind it."""

    def __init__(self, lab, folder, pairs=None, listen=None, implicit=None, start=True, extra=""):
        self.pki = Pki(folder / "pki")
        self.sink = lab.sink()
        self.implicit = ports.free()
        self.pairs = pairs if pairs is not None else [self.pki.issue(NAME)]
        self.inner = implicit
        self.extra = extra
        self.daemon = lab.relayd(
            start=start, routes="route default via sink", listen=listen, extra=self.directives()
        )

    def directives(self):
        lines = [f"tls {{ certificate {certificate}; key {key} }}" for certificate, key in self.pairs]
        lines.append(f"listen 127.0.0.1:{self.implicit} {{ tls implicit{'; ' + self.inner if self.inner else ''} }}")
        lines.append(f"smarthost sink {{ host 127.0.0.1:{self.sink.port}; tls none }}")
        return "\n".join([*lines, self.extra])

    def context(self):
        return ssl.create_default_context(cafile=str(self.pki.ca_file))

    def shown(self, name=NAME):
        """The certificate a client that asks for this name gets, as PEM."""
        return s_client(self.implicit, "-servername", name).stdout

    def serial(self, name=NAME):
        with self.context_any().wrap_socket(
            Client(self.implicit, greet=False).sock, server_hostname=name
        ) as sock:
            return ssl.DER_cert_to_PEM_cert(sock.getpeercert(True))

    @staticmethod
    def context_any():
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context


@pytest.fixture
def site(lab, folder):
    return Site(lab, folder)


def s_client(port, *args, say="QUIT\r\n"):
    return subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-ign_eof", *map(str, args)],
        input=say, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def pem(path):
    return re.search("-----BEGIN CERT.*?-----END CERTIFICATE-----", path.read_text(), re.DOTALL).group(0)


# -- clients of all sorts


@pytest.mark.asan
@pytest.mark.parametrize("version", ["tls1_2", "tls1_3"])
@pytest.mark.parametrize("how", ["starttls", "implicit"])
def test_openssl_reaches_us(site, version, how):
    args = ["-starttls", "smtp"] if how == "starttls" else []
    port = site.daemon.port if how == "starttls" else site.implicit
    done = s_client(
        port, *args, f"-{version}", "-CAfile", site.pki.ca_file, "-verify_return_error", "-servername", NAME,
        "-verify_hostname", NAME, say="EHLO c.test\r\nQUIT\r\n",
    )  # fmt: skip
    assert "Verify return code: 0 (ok)" in done.stdout, done.stdout + done.stderr
    assert "221 2.0.0" in done.stdout
    assert "STARTTLS" not in done.stdout.split("Verify return code")[1]  # not offered again
    assert ("TLSv1.2" if version == "tls1_2" else "TLSv1.3") in done.stdout
    site.daemon.wait_log(rf"Anonymous TLS connection established from unknown\[127\.0\.0\.1\]: TLSv1\.\d with cipher \S+ \(\d+/\d+ bits\) to {NAME}")


@pytest.mark.parametrize("version", ["tls1", "tls1_1"])
def test_old_versions_are_refused(site, version):
    done = s_client(site.daemon.port, "-starttls", "smtp", f"-{version}", "-cipher", "DEFAULT@SECLEVEL=0")
    assert "Cipher is (NONE)" in done.stdout or "Cipher    : 0000" in done.stdout, done.stdout
    site.daemon.wait_log(r"SSL_accept error from unknown\[127\.0\.0\.1\]: no shared protocol version")


@pytest.mark.asan
@pytest.mark.parametrize("how", ["--tls", "--tlsc"])
def test_swaks_sends(site, how):
    port = site.implicit if how == "--tlsc" else site.daemon.port
    done = tools.swaks(port, "a@client.test", "b@dest.test", how)
    assert done.returncode == 0, done.stdout
    (message,) = site.sink.wait(1)
    field = message.header.split(b"\r\nFrom:")[0].decode()
    assert re.search(r"with ESMTPS\b", field), field
    assert re.search(r"\(TLSv1\.[23]\s+[A-Z0-9_-]+\)", field), field


def test_curl_sends(site, folder):
    file = folder / "message"
    file.write_bytes(mail.message())
    trust = ["--cacert", str(site.pki.ca_file)]
    for scheme, port, more in (("smtp", site.daemon.port, ["--ssl-reqd"]), ("smtps", site.implicit, [])):
        done = subprocess.run(
            ["curl", "-sS", "-v", f"{scheme}://{NAME}:{port}/curl.test", "--resolve", f"{NAME}:{port}:127.0.0.1",
             "--mail-from", "a@client.test", "--mail-rcpt", "b@dest.test", "--upload-file", str(file), *trust, *more],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert len(site.sink.wait(2)) == 2


@pytest.mark.asan
def test_smtplib_sends_much(site):
    content = mail.message(body=mail.big_body(3_000_000))
    with smtplib.SMTP("127.0.0.1", site.daemon.port, timeout=60) as client:
        client._host = NAME  # what it asks for and checks
        client.starttls(context=site.context())
        client.sendmail("a@client.test", ["b@dest.test"], content)
    (message,) = site.sink.wait(1)
    assert mail.after_trace(message.content) == content


def test_no_use_of_tls_is_fine_where_it_is_optional(site):
    done = tools.swaks(site.daemon.port, "a@client.test", "b@dest.test")
    assert done.returncode == 0
    (message,) = site.sink.wait(1)
    assert b"with ESMTP id" in message.header.replace(b"\r\n\t", b" ")


def test_required(lab, folder):
    site = Site(lab, folder, listen="tls required")
    with Client(site.daemon.port) as client:
        client.ehlo()
        assert "STARTTLS" in client.extensions
        reply = client.command("MAIL FROM:<a@client.test>")
        assert (reply.code, reply.text) == (530, "5.7.0 Must issue a STARTTLS command first")
    done = tools.swaks(site.daemon.port, "a@client.test", "b@dest.test", "--tls")
    assert done.returncode == 0, done.stdout
    site.sink.wait(1)


# -- which certificate


def test_sni_chooses(lab, folder):
    pki = Pki(folder / "more")
    one, any_of, rsa = pki.issue("one.test"), pki.issue("*.any.test"), pki.issue("one.test", file="rsa", use_rsa=True)
    site = Site(lab, folder, pairs=[one, any_of, rsa])
    for name, pair in (
        ("one.test", one), ("x.any.test", any_of), ("any.test", one), ("x.y.any.test", one), ("nobody.test", one),
        (None, one),
    ):  # fmt: skip
        args = ["-servername", name] if name else ["-noservername"]
        assert pem(pair[0]) in s_client(site.implicit, *args).stdout, name
    done = s_client(site.implicit, "-servername", "one.test", "-sigalgs", "rsa_pss_rsae_sha256")
    assert pem(rsa[0]) in done.stdout


def test_resumption(site, folder):
    for version in ("tls1_2", "tls1_3"):
        session = folder / version
        for port, more in ((site.implicit, []), (site.daemon.port, ["-starttls", "smtp"])):
            first = s_client(port, *more, f"-{version}", "-sess_out", session)
            assert "New, TLSv1" in first.stdout, first.stdout
            again = s_client(port, *more, f"-{version}", "-sess_in", session)
            assert "Reused, TLSv1" in again.stdout, again.stdout
    site.daemon.wait_log(r"Anonymous TLS connection reused from")


def test_client_certificates(lab, folder):
    theirs = Pki(folder / "theirs", "Clients")
    ann = theirs.issue("Ann", email="ann@client.test")
    eve = Pki(folder / "eve", "Somebody").issue("Eve")
    site = Site(lab, folder, implicit=f"client_certificates {theirs.ca_file}")
    for pair, standing in ((ann, "Trusted"), (eve, "Untrusted"), (None, "Anonymous")):
        args = ["-cert", pair[0], "-key", pair[1]] if pair else []
        done = s_client(site.implicit, *args)
        assert "221 2.0.0" in done.stdout, done.stdout
        assert "Clients" in done.stdout  # the names of CAs that count
        site.daemon.wait_log(rf"{standing} TLS connection established from")


# -- renewal


@pytest.mark.asan
def test_renewed_certificate_is_taken(site):
    certificate, key = site.pairs[0]
    with Client(site.daemon.port) as before:
        before.ehlo()
        old = pem(certificate)
        site.pki.issue(NAME)  # the same files
        assert pem(certificate) != old
        assert old in site.shown()
        site.daemon.ctl("reload")
        wait.until(lambda: pem(certificate) in site.shown(), "the new certificate")
        # One who was there goes on, and gets the certificate of its beginning.
        assert before.command("NOOP").code == 250
        assert before.command("STARTTLS").code == 220
        with site.context_any().wrap_socket(before.sock, server_hostname=NAME) as sock:
            assert ssl.DER_cert_to_PEM_cert(sock.getpeercert(True)).strip() == old


def test_a_renewed_certificate_is_taken_by_itself(site):
    site.pki.issue(NAME)
    wait.until(lambda: pem(site.pairs[0][0]) in site.shown(), lambda: f"the new certificate\n{site.daemon.log}", 20, 0.5)


@pytest.mark.parametrize("fault", ["other key", "damaged", "missing", "open", "expired"])
def test_51_a_bad_new_certificate_leaves_the_old(site, fault):
    certificate, key = site.pairs[0]
    old = pem(certificate)
    if fault == "other key":
        shutil.copy(site.pki.issue("other.test")[1], key)
        words = "the key is not the certificate's"
    elif fault == "damaged":
        certificate.write_text(certificate.read_text()[:300] + "\n-----END CERTIFICATE-----\n")
        words = "the certificate is damaged"
    elif fault == "missing":
        key.unlink()
        words = "No such file or directory"
    elif fault == "open":
        key.chmod(0o644)
        words = "everybody may read or write it"
    else:
        site.pki.issue(NAME, expired=True)
        words = "has expired on"
    done = site.daemon.ctl("reload", check=False)
    assert done.returncode != 0
    assert words in done.stderr + done.stdout
    site.daemon.wait_log(re.escape(words))
    assert old in site.shown()
    assert site.daemon.process.running()


def test_51_an_expired_certificate_at_start_is_a_warning(lab, folder):
    pki = Pki(folder / "late")
    site = Site(lab, folder, pairs=[pki.issue(NAME, expired=True)])
    site.daemon.wait_log(r"warning: the certificate \S+ \(mx\.relay\.test\) has expired on \d{4}-")
    assert pem(site.pairs[0][0]) in site.shown()
    site.daemon.ctl("reload")  # it is not new


# -- without a certificate


def test_self_signed(lab, folder):
    site = Site(lab, folder, pairs=[])
    site.daemon.wait_log(r"certificate signed by itself .* name a real one with \"tls \{ certificate FILE; key FILE \}\"")
    kept = site.daemon.state / "tls" / "self-signed.pem"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    first = pem(kept)
    assert first in site.shown()
    assert "PRIVATE KEY" in kept.read_text()
    site.daemon.restart()
    assert pem(kept) == first and first in site.shown()
    kept.write_text("not a certificate\n")
    site.daemon.restart()
    assert pem(kept) != first and pem(kept) in site.shown()


# -- attacks


def injected(site):
    return "MAIL FROM:<evil@client.test>\r\nRCPT TO:<b@dest.test>\r\nDATA\r\nSubject: evil\r\n\r\nevil\r\n.\r\n"


@pytest.mark.asan
@pytest.mark.parametrize("how", ["one segment", "byte by byte", "behind the answer"])
def test_17_commands_behind_starttls_are_never_served(site, how):
    with Client(site.daemon.port) as client:
        client.ehlo()
        data = "STARTTLS\r\n" + injected(site)
        if how == "one segment":
            client.send(data)
            reply = client.reply()
            assert reply.code == 554 and reply.enhanced == "5.5.1"
            assert client.closed()
        elif how == "byte by byte":
            try:
                client.send_slowly(data)
                while client.reply().code in (220, 554):
                    pass
            except (EOFError, OSError, UnicodeDecodeError, AssertionError):
                pass  # an alert of TLS, or the end
        else:
            assert client.command("STARTTLS").code == 220
            client.send(injected(site))
            wait.until(lambda: client.sock.recv(4096) == b"", "the end")
    site.daemon.wait_log("nothing may be sent behind STARTTLS|speaks plain text, not TLS")
    assert site.sink.messages == []
    assert site.daemon.queue() == []
    assert "evil" not in site.daemon.log


def test_everything_said_in_the_clear_is_forgotten(site):
    with Client(site.daemon.port) as client:
        client.ehlo()
        assert client.command("STARTTLS").code == 220
        client.sock = site.context_any().wrap_socket(client.sock, server_hostname=NAME)
        assert client.command("MAIL FROM:<a@client.test>").code == 503
        client.ehlo()
        assert "STARTTLS" not in client.extensions
        assert client.command("MAIL FROM:<a@client.test>").code == 250


def test_plain_text_to_the_implicit_port(site):
    with Client(site.implicit, greet=False) as client:
        client.send("EHLO c.test\r\n")
        while client.sock.recv(4096):
            pass
    site.daemon.wait_log(r"SSL_accept error from unknown\[127\.0\.0\.1\]: the peer speaks plain text, not TLS")
    assert pem(site.pairs[0][0]) in site.shown()


def test_a_client_that_goes_away_at_the_handshake(site):
    for data in (b"", b"\x16\x03\x01\x02\x00\x01\x00"):
        with Client(site.daemon.port) as client:
            client.ehlo()
            assert client.command("STARTTLS").code == 220
            client.send(data)
    wait.until(lambda: len(re.findall("SSL_accept error from .* the connection ended", site.daemon.log)) == 2, "two lines")
    assert "Traceback" not in site.daemon.log
    assert pem(site.pairs[0][0]) in site.shown()
