"""Clients: Postfix's smtp-source for many messages, and one that says many recipients at once."""

import os
import socket
import subprocess
import time

import core
from lab import postfix


def send(port, count, size, reuse, timeout=600, sessions=core.SESSIONS, to="b@dest.test"):
    """Sends so many messages; the seconds it took. smtp-source answers for every 250."""
    args = ["-d"] if reuse else []
    command = postfix.smtp_source(port, count, *args, sessions=sessions, size=size, to=to)
    began = time.monotonic()
    done = subprocess.run(
        [str(c) for c in command],
        env={**os.environ, **postfix.environment()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=timeout,
    )
    if done.returncode != 0:
        raise RuntimeError(f"smtp-source: {done.stderr}")
    return time.monotonic() - began


class Pipeliner:
    """One session; a message's envelope is one write, however many recipients it has."""

    def __init__(self, port, timeout=120):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""
        self.replies(1)
        self.socket.sendall(b"EHLO client.test\r\n")
        self.replies(1)

    def replies(self, count):
        """The last of so many replies; none may refuse anything."""
        last = b""
        while count > 0:
            line, found, self.rest = self.rest.partition(b"\n")
            if not found:
                more = self.socket.recv(1 << 18)
                if not more:
                    raise RuntimeError(f"the server closed after {last!r}")
                self.rest = line + more
                continue
            if line[:1] not in b"23":
                raise RuntimeError(f"refused: {line!r}")
            last = line
            count -= line[3:4] != b"-"
        return last

    def begin(self, recipients):
        """Up to the answer to DATA."""
        envelope = b"".join(b"RCPT TO:<%s>\r\n" % r.encode() for r in recipients)
        self.socket.sendall(b"MAIL FROM:<src@client.test>\r\n" + envelope + b"DATA\r\n")
        self.replies(len(recipients) + 2)

    def finish(self, content):
        """Queued when this returns."""
        self.socket.sendall(content + b".\r\n")
        self.replies(1)

    def send(self, recipients, content):
        self.begin(recipients)
        self.finish(content)

    def close(self):
        self.socket.close()


def content(size=4 * core.KIB):
    line = b"x" * 70 + b"\r\n"
    return b"From: <src@client.test>\r\nSubject: bench\r\n\r\n" + line * (size // len(line))
