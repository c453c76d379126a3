"""A PROXY header in front of implicit TLS: the header in the clear, then the handshake."""

import smtplib
import ssl
import time

import pytest

from lab import mail, ports, wait
from lab.client import Client
from lab.frontends import INSIDE, LOCAL, NAMED, OUTSIDE, SIGNATURE, Haproxy, Tls, may_relay, tls_behind, v1, v2
from lab.pki import Pki
from lab.submit import PASSWORD, USER, add_user

FRONT = "127.0.0.9"  # the declared front end
STRANGER = "127.0.0.2"
HEADER_SECONDS = 10  # relayd.conf(5)


@pytest.fixture
def fronted(lab):
    """fronted("more of the TLS listener", **options): (relayd with daemon.tls_port, sink)."""

    def make(listen="client_address show", extra="", **options):
        sink, port = lab.sink(), ports.free()
        options.setdefault("trusted", "192.0.2.0/24, 2001:db8::/32, 127.0.0.9/32")
        daemon = lab.relayd(
            extra=f"listen 127.0.0.1:{port} {{ tls implicit; proxy_protocol from {FRONT}; {listen} }}\n{extra}\n"
            f"domain dest.test {{ relay }}\nsmarthost sink {{ host 127.0.0.1:{sink.port}; tls none }}",
            routes="route default via sink",
            **options,
        )
        daemon.tls_port = port
        return daemon, sink

    return make


def behind(daemon, header, **options):
    client = tls_behind(daemon.tls_port, header, FRONT, **options)
    assert client.greeting.code == 220
    return client


@pytest.mark.asan
def test_the_named_address_counts(fronted):
    daemon, _ = fronted()
    for header, relays in NAMED:
        with behind(daemon, header) as client:
            assert may_relay(client) == relays, header


WAYS = {
    "together": lambda header, hello: [header + hello],
    "a byte of the hello first": lambda header, hello: [header + hello[:1], hello[1:]],
    "the end of the header with the hello": lambda header, hello: [header[:-1], header[-1:] + hello],
    "byte by byte": lambda header, hello: [bytes([b]) for b in header + hello],
}


@pytest.mark.asan
@pytest.mark.parametrize("way", WAYS)
def test_however_they_are_cut(fronted, way):
    daemon, sink = fronted()
    for header in (v1(INSIDE), v2(INSIDE)):
        with behind(daemon, header, pieces=WAYS[way]) as client:
            assert client.transaction("a@anywhere.test", "b@elsewhere.test", mail.message()).code == 250
    assert len(sink.wait(2)) == 2


def test_log_and_received_name_the_client(fronted):
    daemon, sink = fronted()
    with behind(daemon, v2(INSIDE)) as client:
        assert client.transaction("a@anywhere.test", "b@elsewhere.test", mail.message()).code == 250
    with behind(daemon, v1(OUTSIDE)) as client:
        assert not may_relay(client)
    header = " ".join(sink.wait(1)[0].header.decode().split())
    assert f"[{INSIDE}]" in header and " with ESMTPS (TLSv1.3 " in header
    assert FRONT not in header
    daemon.wait_log(rf"client=unknown\[{INSIDE}\]")
    daemon.wait_log(rf"Anonymous TLS connection established from unknown\[{INSIDE}\]")
    daemon.wait_log(rf"NOQUEUE: reject: RCPT from unknown\[{OUTSIDE}\]")
    assert FRONT not in daemon.log


def test_limits_count_the_client_and_not_the_front_end(fronted):
    daemon, _ = fronted(limits="connections_per_client 2")
    held = [behind(daemon, v1(f"198.51.100.{n}")) for n in (1, 1, 2, 3, 4)]
    with Client(daemon.tls_port, source=FRONT, greet=False) as client:
        client.send(v1("198.51.100.1") + Tls(client.sock).hello)
        assert client.closed()
    daemon.wait_log(r"too many connections from unknown\[198\.51\.100\.1\]")
    held.pop(0).close()
    with wait.until(lambda: again(daemon, "198.51.100.1"), "a place is free"):
        pass
    for client in held:
        client.close()


def again(daemon, address):
    try:
        return behind(daemon, v2(address))
    except (OSError, EOFError):
        return None


def test_bans_count_the_client_and_not_the_front_end(fronted):
    daemon, sink = fronted("role submission")
    add_user(daemon)
    for number in range(10):
        with behind(daemon, v2(OUTSIDE)) as client:
            assert client.login(f"nobody{number}@shop.test", "guess").code == 535
    (row,) = [row for row in daemon.json("bans")["rows"] if row.get("client")]
    assert row["client"] == OUTSIDE and row["refused"], row
    with behind(daemon, v1(OUTSIDE)) as client:
        assert client.login().code in (421, 454)
    with behind(daemon, v1("198.51.100.8")) as client:
        assert client.login().code == 235
        assert client.transaction(USER, "b@elsewhere.test", mail.message(sender=USER)).code == 250
    assert f"[{FRONT}]".encode() not in sink.wait(1)[0].header
    daemon.wait_log(rf"authentication failed.*{OUTSIDE}|{OUTSIDE}.*authentication failed")
    assert FRONT not in daemon.log


def test_11_a_client_nobody_names_may_log_in_and_no_more(fronted):
    """UNKNOWN or LOCAL: the password and the line are as good as any other's."""
    daemon, _ = fronted("login optional")
    add_user(daemon)
    for header in (b"PROXY UNKNOWN\r\n", v2(INSIDE, command=LOCAL)):
        with behind(daemon, header) as client:
            assert not may_relay(client)
            assert client.login().code == 235
            assert client.transaction(USER, "b@elsewhere.test", mail.message(sender=USER)).code == 250


# -- what is no header, and no handshake behind it

BAD = [
    b"EHLO client.test\r\n",
    b"PROXY TCP4 192.0.2.7 203.0.113.1 40000\r\n",
    b"PROXY TCP4 192.0.2.7 203.0.113.1 40000 25\n",
    b"PROXY UNKNOWN" + b" x" * 100 + b"\r\n",
    SIGNATURE + b"\x31\x11\0\0",
    SIGNATURE + b"\x21\x11\xff\xff",
    SIGNATURE + b"\x21\x12\0\x0c" + b"x" * 12,
    b"",  # the handshake at once: whoever is declared sends a header
]


@pytest.mark.asan
@pytest.mark.parametrize("header", BAD)
def test_a_bad_header_ends_the_connection(fronted, header):
    daemon, _ = fronted()
    with Client(daemon.tls_port, source=FRONT, greet=False) as client:
        client.send(header + Tls(client.sock).hello)
        assert client.closed()
    daemon.wait_log(rf"PROXY header from {FRONT}:\d+: .*; connection closed")


GARBAGE = {
    "plain text": b"EHLO client.test\r\nMAIL FROM:<evil@client.test>\r\n",
    "another header": v1("127.0.0.1"),
    "another header in binary": v2("127.0.0.1"),
    "noise": bytes(range(255, 127, -1)) * 4,
    "a record that is none": b"\x16\x03\x01\xff\xff" + b"x" * 100,
    "an alert": b"\x15\x03\x01\0\x02\x02\x28",
}


@pytest.mark.asan
@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("header", [v1(INSIDE), v2(INSIDE)], ids=["v1", "v2"])
def test_11_garbage_behind_a_good_header(fronted, header, garbage):
    daemon, sink = fronted()
    for pieces in ([header + GARBAGE[garbage]], [header, GARBAGE[garbage]]):
        with Client(daemon.tls_port, source=FRONT, greet=False) as client:
            for piece in pieces:
                client.send(piece)
            assert ended(client)
    wait.until(lambda: daemon.log.count(f"SSL_accept error from unknown[{INSIDE}]") == 2, lambda: daemon.log)
    assert "evil" not in daemon.log and sink.seen == []
    with behind(daemon, header) as client:
        assert may_relay(client)


def ended(client, timeout=10):
    """An alert may come before the end, a word of SMTP may not."""
    client.sock.settimeout(timeout * wait.FACTOR)
    said = b""
    try:
        while data := client.sock.recv(4096):
            said += data
    except ConnectionResetError:
        pass
    return b"220" not in said


def test_a_header_that_does_not_come(fronted):
    """Cut in the middle, or a byte now and then: closed when its time is over, not when the last byte came."""
    daemon, _ = fronted()
    whole = v2(INSIDE, tlvs=b"\x04\0\x40" + b"x" * 64)
    clients = [Client(daemon.tls_port, source=FRONT, greet=False) for _ in range(5)]
    begun = time.monotonic()
    for client, part in zip(clients, (b"", b"PROXY TC", SIGNATURE + b"\x21", whole[:-1], whole[:1])):
        client.send(part)
    sent = 1

    def all_closed():
        nonlocal sent
        if sent < len(whole) - 1 and time.monotonic() - begun > sent * 0.25:
            try:
                clients[-1].send(whole[sent : sent + 1])
            except OSError:
                pass
            sent += 1
        return daemon.log.count("it does not come; connection closed") == len(clients)

    wait.until(all_closed, lambda: daemon.log, 2 * HEADER_SECONDS)
    assert time.monotonic() - begun > HEADER_SECONDS - 1
    for client in clients:
        assert client.closed()
        client.close()


def test_a_front_end_that_goes_away(fronted):
    daemon, _ = fronted()
    with Client(daemon.tls_port, source=FRONT, greet=False) as client:
        client.send(v2(INSIDE)[:20])
    daemon.wait_log(r"PROXY header from .*: it is not whole")
    with Client(daemon.tls_port, source=FRONT, greet=False) as client:
        client.send(v2(INSIDE) + Tls(client.sock).hello[:40])
    daemon.wait_log(rf"SSL_accept error from unknown\[{INSIDE}\]: the connection ended")
    with Client(daemon.tls_port, source=FRONT, greet=False) as client:
        client.send(v1(INSIDE)[:-1])
        daemon.stop()  # and it ends at once


# -- those who are not declared


@pytest.mark.asan
@pytest.mark.parametrize("header", [v1(INSIDE), v2(INSIDE), b"PROXY UNKNOWN\r\n"], ids=["v1", "v2", "unknown"])
def test_11_strangers_who_send_a_header_are_refused(fronted, header):
    """To them it is no handshake; without it they are served as who they are."""
    daemon, sink = fronted()
    with Client(daemon.tls_port, source=STRANGER, greet=False) as client:
        client.send(header + Tls(client.sock).hello)
        assert ended(client)
    daemon.wait_log(rf"SSL_accept error from unknown\[{STRANGER}\]")
    with tls_behind(daemon.tls_port, b"", STRANGER) as client:
        client.send(header)  # behind the handshake it is no command
        assert client.reply().code == 500
    with tls_behind(daemon.tls_port, b"", STRANGER) as client:
        assert not may_relay(client)
    assert INSIDE not in daemon.log and sink.seen == []


# -- HAProxy


@pytest.fixture
def pki(folder):
    return Pki(folder / "pki")


def submit_through(proxy, context, source):
    with smtplib.SMTP_SSL("127.0.0.1", proxy.port, context=context, source_address=(source, 0), timeout=60) as client:
        client.login(USER, PASSWORD)
        client.sendmail(USER, ["b@elsewhere.test"], mail.message(sender=USER))


@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"])
def test_haproxy_passes_tls_through(fronted, pki, folder, version):
    """The certificate the client checks is relayd's, who learns who the client is."""
    certificate, key = pki.issue("localhost")
    daemon, sink = fronted("role submission", extra=f"tls {{ certificate {certificate}; key {key} }}")
    add_user(daemon)
    context = ssl.create_default_context(cafile=str(pki.ca_file))
    context.check_hostname = False
    with Haproxy(folder, daemon.tls_port, version, FRONT) as proxy:
        submit_through(proxy, context, STRANGER)
    header = " ".join(sink.wait(1)[0].header.decode().split())
    assert f"[{STRANGER}]" in header and " with ESMTPSA " in header and FRONT not in header
    daemon.wait_log(rf"TLS connection established from unknown\[{STRANGER}\]")
    assert FRONT not in daemon.log


@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2-ssl"])
def test_haproxy_ends_tls_and_begins_its_own(fronted, pki, folder, version):
    certificate, key = pki.issue("localhost")
    both = folder / "haproxy.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    daemon, sink = fronted("role submission")
    add_user(daemon)
    context = ssl.create_default_context(cafile=str(pki.ca_file))
    context.check_hostname = False
    with Haproxy(folder, daemon.tls_port, f"ssl verify none {version}", FRONT, bind=f"ssl crt {both}") as proxy:
        submit_through(proxy, context, STRANGER)
    assert f"[{STRANGER}]" in " ".join(sink.wait(1)[0].header.decode().split())
    assert FRONT not in daemon.log
