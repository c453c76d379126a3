"""Clients that log in: programs people use, and hands that do it wrongly."""

import base64
import hashlib
import hmac
import json
import os
import secrets
import shutil
import ssl
import subprocess
import time

import pytest

from lab import PEERS, ROOT
from lab.client import Client

USER, PASSWORD = "web@shop.test", "correct horse battery"


def add_user(daemon, address=USER, password=PASSWORD, *options):
    daemon.ctl("user", "add", address, "--password-stdin", *options, input=password + "\n")


def b64(data):
    return base64.b64encode(data if isinstance(data, bytes) else data.encode()).decode()


def plain(user=USER, password=PASSWORD, authzid=""):
    return b64(f"{authzid}\0{user}\0{password}")


class Submitter(Client):
    """A client that can log in and turn its line into TLS."""

    def plain(self, user=USER, password=PASSWORD, authzid=""):
        return self.command(f"AUTH PLAIN {plain(user, password, authzid)}")

    def login(self, user=USER, password=PASSWORD):
        return self.plain(user, password)

    def ask_login(self, user=USER, password=PASSWORD):
        """The mechanism LOGIN, which asks for one after the other."""
        reply = self.command("AUTH LOGIN")
        for answer in (user, password):
            if reply.code == 334:
                reply = self.command(b64(answer))
        return reply

    def tls(self):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        assert not self.buffer
        self.sock = context.wrap_socket(self.sock)

    def starttls(self):
        reply = self.command("STARTTLS")
        assert reply.code == 220, reply
        self.tls()
        return self.ehlo()

    def scram(self, user=USER, password=PASSWORD, proof=None, binding=b"n,,"):
        """SCRAM-SHA-256 (RFC 7677) by hand; the last reply. Checks the server's signature."""
        nonce = secrets.token_urlsafe(18)
        name = user.replace("=", "=3D").replace(",", "=2C")
        bare = f"n={name},r={nonce}"
        reply = self.command("AUTH SCRAM-SHA-256 " + b64(binding + bare.encode()))
        if reply.code != 334:
            return reply
        first = base64.b64decode(reply.text).decode()
        fields = dict(part.split("=", 1) for part in first.split(","))
        assert fields["r"].startswith(nonce) and len(fields["r"]) > len(nonce)
        salted = hashlib.pbkdf2_hmac(
            "sha256", password.encode(), base64.b64decode(fields["s"]), int(fields["i"])
        )
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        without = f"c={b64(binding)},r={fields['r']}"
        signed = ",".join([bare, first, without]).encode()
        signature = hmac.digest(hashlib.sha256(client_key).digest(), signed, "sha256")
        right = bytes(a ^ b for a, b in zip(client_key, signature))
        reply = self.command(b64(f"{without},p={proof or b64(right)}"))
        if reply.code != 334:
            return reply
        said = base64.b64decode(reply.text).decode()
        server_key = hmac.digest(salted, b"Server Key", "sha256")
        assert said == "v=" + b64(hmac.digest(server_key, signed, "sha256")), "the server does not know the password"
        return self.command("")


def attempt(port, how, *args, source=None):
    """(reply code, seconds) of one login in a session of its own."""
    with Submitter(port, source=source) as client:
        assert client.ehlo().code == 250
        run = {"plain": client.plain, "login": client.ask_login, "scram": client.scram}[how]
        began = time.monotonic()
        return run(*args).code, time.monotonic() - began


def msmtp(folder, port, sender, recipients, content, tls, method="plain", password=PASSWORD):
    """msmtp, called as a website's sendmail."""
    config = folder / "msmtprc"
    config.write_text(
        f"account default\nhost 127.0.0.1\nport {port}\nfrom {sender}\nauth {method}\n"
        f"user {USER}\npassword \"{password}\"\n"
        + ("tls on\ntls_starttls on\ntls_certcheck off\n" if tls else "tls off\n")
    )
    config.chmod(0o600)
    return subprocess.run(
        ["msmtp", "-C", config, *(["-t"] if recipients is None else ["--", *recipients])],
        input=content,
        capture_output=True,
        timeout=60,
    )


def nodemailer(port, message, secure=False, tls=False, user=USER, password=PASSWORD):
    """Sends a message, described as nodemailer has it, and gives what it says of that."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("npm and node are not installed")
    folder = PEERS / "npm"
    done = subprocess.run([ROOT / "tests" / "npm", folder, "nodemailer"], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"npm does not bring nodemailer: {done.stderr.strip()[-200:]}")
    options = {
        "host": "127.0.0.1",
        "port": port,
        "secure": secure,
        "ignoreTLS": not (secure or tls),
        "requireTLS": tls and not secure,
        "tls": {"rejectUnauthorized": False},
        "auth": {"user": user, "pass": password},
    }
    script = (
        'const [o, m] = JSON.parse(require("fs").readFileSync(0));'
        'require("nodemailer").createTransport(o).sendMail(m)'
        ".then(i => console.log(JSON.stringify(i)), e => { console.error(e.message); process.exit(1); });"
    )
    return subprocess.run(
        ["node", "-e", script],
        input=json.dumps([options, message]),
        cwd=folder,
        env={**os.environ, "NODE_PATH": str(folder / "node_modules")},
        capture_output=True,
        text=True,
        timeout=60,
    )
