"""A client that logs in, over a plain socket: byte by byte ours."""

import base64
import hashlib
import hmac
import os
import socket
import time


def b64(raw):
    return base64.b64encode(raw).decode()


class Session:
    def __init__(self, port, source="127.0.0.1", timeout=30):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout, (source, 0))
        self.file = self.socket.makefile("rb")
        assert self.reply()[0] == 220
        self.offered = ""
        code, lines = self.say("EHLO client.test")
        assert code == 250, lines
        for line in lines:
            if line.upper().startswith("AUTH "):
                self.offered = line[5:]

    def reply(self):
        lines = []
        while True:
            line = self.file.readline().decode().rstrip("\r\n")
            if not line:
                raise ConnectionError("closed")
            lines.append(line[4:])
            if line[3:4] != "-":
                return int(line[:3]), lines

    def say(self, line):
        self.socket.sendall(line.encode() + b"\r\n")
        return self.reply()

    def plain(self, user, password, authzid=""):
        raw = "\0".join((authzid, user, password)).encode()
        return self.say(f"AUTH PLAIN {b64(raw)}")[0]

    def login(self, user, password):
        code, _ = self.say("AUTH LOGIN")
        if code != 334:
            return code
        code, _ = self.say(b64(user.encode()))
        if code != 334:
            return code
        return self.say(b64(password.encode()))[0]

    def scram(self, user, password, flag="n", mechanism="SCRAM-SHA-256"):
        """RFC 5802; checks the server's signature, too."""
        nonce = b64(os.urandom(18))
        first = f"n={user},r={nonce}"
        code, lines = self.say(f"AUTH {mechanism} {b64((flag + ',,' + first).encode())}")
        if code != 334:
            return code
        server_first = base64.b64decode(lines[0]).decode()
        fields = dict(part.split("=", 1) for part in server_first.split(","))
        assert fields["r"].startswith(nonce) and len(fields["r"]) > len(nonce)
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        final = f"c={b64((flag + ',,').encode())},r={fields['r']}"
        message = f"{first},{server_first},{final}".encode()
        signature = hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")
        proof = bytes(a ^ b for a, b in zip(client_key, signature))
        code, lines = self.say(b64(f"{final},p={b64(proof)}".encode()))
        if code != 334:
            return code
        server_key = hmac.digest(salted, b"Server Key", "sha256")
        want = b64(hmac.digest(server_key, message, "sha256"))
        assert base64.b64decode(lines[0]).decode() == f"v={want}"
        return self.say("")[0]

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def attempt(port, how, *args, source="127.0.0.1", **options):
    """(reply code, seconds) of one login in a session of its own."""
    with Session(port, source) as s:
        began = time.monotonic()
        return getattr(s, how)(*args, **options), time.monotonic() - began
