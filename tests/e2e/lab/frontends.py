"""What stands in front of relayd and says for whom: PROXY headers by hand, and HAProxy."""

import socket
import ssl
import struct

from lab import library_path, ports, unpack
from lab.process import Process
from lab.submit import Submitter

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL = 0x20  # a command of version 2


def may_relay(client):
    """Whether the client counts as trusted: the reply to a recipient elsewhere."""
    client.command("MAIL FROM:<a@anywhere.test>")
    reply = client.command("RCPT TO:<b@elsewhere.test>")
    client.command("RSET")
    assert reply.code in (250, 550), reply
    return reply.code == 250


def v1(source, destination="203.0.113.1", family="TCP4"):
    return f"PROXY {family} {source} {destination} 40000 25\r\n".encode()


def v2(source, tlvs=b"", command=0x21):
    v6 = ":" in source
    family = socket.AF_INET6 if v6 else socket.AF_INET
    to = "2001:db8::25" if v6 else "203.0.113.1"
    body = socket.inet_pton(family, source) + socket.inet_pton(family, to) + struct.pack("!HH", 40000, 25) + tlvs
    return SIGNATURE + bytes([command, 0x21 if v6 else 0x11]) + struct.pack("!H", len(body)) + body


# Behind a listener that trusts the first: whom a front end names, and whether that is so.
INSIDE = "192.0.2.7"
OUTSIDE = "198.51.100.7"
NAMED = [
    (v1(INSIDE), True),
    (v1("2001:db8::1", "::1", "TCP6"), True),
    (v2(INSIDE), True),
    (v2("2001:db8::1"), True),
    (v2(INSIDE, tlvs=b"\x04\0\x03abc\x20\0\x05\x01\0\0\0\0"), True),
    (v1(OUTSIDE), False),
    (v2(OUTSIDE), False),
    (v1("127.0.0.1"), False),
    (v1("::1", "::1", "TCP6"), False),
    (b"PROXY UNKNOWN\r\n", False),
    (v2(INSIDE, command=LOCAL), False),
]


class Tls:
    """A client's TLS over a socket, its first flight in our hands: `hello` is not sent yet."""

    def __init__(self, sock, server_name="mx.relay.test"):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl = context.wrap_bio(self.incoming, self.outgoing, server_hostname=server_name)
        try:
            self.ssl.do_handshake()
        except ssl.SSLWantReadError:
            pass
        self.hello = self.outgoing.read()

    def _fetch(self):
        data = self.sock.recv(65536)
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()

    def _flush(self):
        if self.outgoing.pending:
            self.sock.sendall(self.outgoing.read())

    def _run(self, step, *args):
        while True:
            try:
                return step(*args)
            except ssl.SSLWantReadError:
                self._flush()
                self._fetch()
            finally:
                self._flush()

    def shake_hands(self):
        """Once the hello is sent."""
        self._run(self.ssl.do_handshake)

    def sendall(self, data):
        self._run(self.ssl.write, data)

    def recv(self, most):
        try:
            return self._run(self.ssl.read, most)
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def settimeout(self, seconds):
        self.sock.settimeout(seconds)

    def close(self):
        self.sock.close()


def tls_behind(port, header, source, pieces=None):
    """A client of implicit TLS behind a front end, who has said EHLO.

    pieces: how header and hello are cut into segments, a function of both; in two if it is None."""
    client = Submitter(port, source=source, greet=False)
    tls = Tls(client.sock)
    for piece in pieces(header, tls.hello) if pieces else (header, tls.hello):
        client.send(piece)
    tls.shake_hands()
    client.sock = tls
    client.greeting = client.reply()
    if client.greeting.code == 220:
        client.ehlo()
    return client


class Haproxy:
    """with Haproxy(folder, port of relayd, "send-proxy") as proxy: ... proxy.port ..."""

    def __init__(self, folder, to, server, source, bind=""):
        root = unpack("haproxy")
        self.port = ports.free()
        config = folder / "haproxy.cfg"
        config.write_text(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n"
            f"listen mail\n bind 127.0.0.1:{self.port} {bind}\n source {source}\n server relayd 127.0.0.1:{to} {server}\n"
        )
        self.process = Process("haproxy", [root / "usr/sbin/haproxy", "-db", "-f", config],
                               env={"LD_LIBRARY_PATH": library_path(root)})  # fmt: skip

    def __enter__(self):
        try:
            self.process.wait_for(self._listens, "listens")
        except BaseException:
            self.process.stop()
            raise
        return self

    def _listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def __exit__(self, *_):
        self.process.stop()
        ports.release(self.port)
