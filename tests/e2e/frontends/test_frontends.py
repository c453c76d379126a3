"""Front ends that pass connections on: PROXY headers and XCLIENT, from declared hosts only."""

import subprocess

import pytest

from lab import mail
from lab.client import Client
from lab.frontends import INSIDE, LOCAL, NAMED, OUTSIDE, SIGNATURE, Haproxy, may_relay, v1, v2
from lab.submit import Submitter

FRONT = "127.0.0.9"  # the declared front end
STRANGER = "127.0.0.2"


@pytest.fixture
def fronted(lab):
    sink = lab.sink()
    daemon = lab.relayd(
        trusted="192.0.2.0/24, 2001:db8::/32",
        listen=f"proxy_protocol from {FRONT}; xclient from 127.0.0.8, {INSIDE}",
        extra=f"domain dest.test {{ relay }}\nsmarthost sink {{ host 127.0.0.1:{sink.port}; tls none }}",
        routes="route default via sink",
    )
    return daemon, sink


def behind(daemon, header, front=FRONT):
    """A client behind a front end: greeted, and said EHLO."""
    client = Client(daemon.port, source=front, greet=False)
    client.send(header)
    client.greeting = client.reply()
    assert client.greeting.code == 220
    client.ehlo()
    return client


@pytest.mark.asan
@pytest.mark.parametrize("header, relays", NAMED)
def test_the_named_address_counts(fronted, header, relays):
    daemon, _ = fronted
    with behind(daemon, header) as client:
        assert may_relay(client) == relays


def test_11_trust_in_loopback_is_for_those_we_see(lab):
    """Nobody's `trusted`: programs of this machine may relay, not whoever a front end calls 127.0.0.1."""
    daemon = lab.relayd(trusted=None, listen=f"proxy_protocol from {FRONT}; xclient from 127.0.0.8",
                        routes="route default hold")
    with Client(daemon.port) as client:
        client.ehlo()
        assert may_relay(client)
    for header in (v1("127.0.0.1", "127.0.0.1"), b"PROXY UNKNOWN\r\n", v2("127.0.0.1", command=LOCAL)):
        with behind(daemon, header) as client:
            assert not may_relay(client)
    with Client(daemon.port, source="127.0.0.8") as client:
        assert client.command("XCLIENT ADDR=127.0.0.1").code == 220
        client.ehlo()
        assert not may_relay(client)


def test_log_and_received_name_the_client(fronted):
    daemon, sink = fronted
    with behind(daemon, v2(INSIDE)) as client:
        assert client.transaction("a@anywhere.test", "b@elsewhere.test", mail.message()).code == 250
    header = " ".join(sink.wait(1)[0].header.decode().split())
    assert f"[{INSIDE}]" in header
    assert FRONT not in header
    daemon.wait_log(rf"client=unknown\[{INSIDE}\]")


def test_header_and_commands_in_one_go_or_byte_by_byte(fronted):
    daemon, _ = fronted
    with Client(daemon.port, source=FRONT, greet=False) as client:
        client.send(v2(INSIDE) + b"EHLO early.test\r\nQUIT\r\n")
        assert [client.reply().code for _ in range(3)] == [220, 250, 221]
    with Client(daemon.port, source=FRONT, greet=False) as client:
        client.send_slowly(v1(INSIDE))
        assert client.reply().code == 220


BAD = [
    b"EHLO client.test\r\n",
    b"PROXY TCP4 192.0.2.7 203.0.113.1 40000\r\n",
    b"PROXY TCP4 192.0.2.7 203.0.113.1 40000 25\n",
    b"proxy TCP4 192.0.2.7 203.0.113.1 40000 25\r\n",
    b"PROXY UNKNOWN" + b" x" * 100 + b"\r\n",
    SIGNATURE + b"\x31\x11\0\0",
    SIGNATURE + b"\x21\x11\xff\xff",
    SIGNATURE + b"\x21\x12\0\x0c" + b"x" * 12,
]


@pytest.mark.parametrize("header", BAD)
def test_a_bad_header_ends_the_connection(fronted, header):
    daemon, _ = fronted
    with Client(daemon.port, source=FRONT, greet=False) as client:
        client.send(header)
        assert client.closed()
    daemon.wait_log(rf"PROXY header from {FRONT}:\d+: .*; connection closed")


def test_a_silent_or_gone_front_end_costs_nothing(fronted):
    daemon, _ = fronted
    with Client(daemon.port, source=FRONT, greet=False) as client:
        client.send(b"PROX")
    daemon.wait_log(r"PROXY header from .*: it is not whole")
    with Client(daemon.port, source=FRONT, greet=False):
        daemon.stop()  # and it ends at once


@pytest.mark.parametrize("header", [v1(INSIDE), v2(INSIDE), v1("127.0.0.1")])
def test_11_strangers_are_who_they_are(fronted, header):
    """Whoever is not declared is served, and his header is no command."""
    daemon, sink = fronted
    with Client(daemon.port, source=STRANGER) as client:
        client.send(header + b"NOOP\r\n")
        # Binary it is three lines and one that ends in LF alone, which swallows the NOOP.
        want = [500] * 4 if header.startswith(SIGNATURE) else [500, 250]
        assert [client.reply().code for _ in want] == want
        client.ehlo()
        assert not may_relay(client)
    daemon.wait_log(rf"NOQUEUE: reject: .*\[{STRANGER}\]")
    assert sink.seen == []


def test_limits_count_the_client_and_not_the_front_end(lab):
    daemon = lab.relayd(listen=f"proxy_protocol from {FRONT}; xclient from 127.0.0.8",
                        limits="connections_per_client 2")
    held = [behind(daemon, v1(f"198.51.100.{n}")) for n in range(1, 6)]
    held.append(behind(daemon, v1("198.51.100.1")))
    with Client(daemon.port, source=FRONT, greet=False) as client:
        client.send(v1("198.51.100.1") + b"EHLO x\r\n")
        assert client.reply().code == 421
        assert client.closed()
    with Client(daemon.port, source="127.0.0.8") as client:
        assert client.command("XCLIENT ADDR=198.51.100.1").code == 421
        assert client.closed()
    with Client(daemon.port, source="127.0.0.8") as client:
        assert client.command("XCLIENT ADDR=198.51.100.2").code == 220
    for client in held:
        client.close()


# -- XCLIENT

@pytest.mark.asan
def test_xclient_from_a_declared_host(fronted):
    daemon, sink = fronted
    with Client(daemon.port, source="127.0.0.8") as client:
        client.ehlo("front.test")
        assert client.extensions["XCLIENT"] == "NAME ADDR PORT PROTO HELO DESTADDR DESTPORT"
        assert not may_relay(client)
        reply = client.command(f"XCLIENT NAME=in.example ADDR={INSIDE} PORT=40000 PROTO=ESMTP HELO=in.example")
        assert reply.code == 220
        assert client.command("MAIL FROM:<a@b.test>").code == 503  # it begins anew
        client.ehlo("in.example")
        assert may_relay(client)
        assert client.transaction("a@anywhere.test", "b@elsewhere.test", mail.message()).code == 250
        assert client.command(f"XCLIENT ADDR={OUTSIDE}").code == 220
        client.ehlo("out.example")
        assert not may_relay(client)
        assert client.command("XCLIENT ADDR=[UNAVAILABLE]").code == 220
        client.ehlo("who.example")
        assert not may_relay(client)
        assert client.command(f"XCLIENT ADDR={INSIDE} LOGIN=root").code == 501
    header = " ".join(sink.wait(1)[0].header.decode().split())
    assert f"from in.example ([{INSIDE}])" in header or f"[{INSIDE}]" in header
    daemon.wait_log(rf"127\.0\.0\.8 speaks for unknown\[{INSIDE}\]")


def test_17_a_name_said_before_starttls_makes_nobody_trusted(fronted):
    """Anybody on the wire could have said it; who it is about is remembered all the same."""
    daemon, sink = fronted
    with Submitter(daemon.port, source="127.0.0.8") as client:
        client.ehlo("front.test")
        assert client.command(f"XCLIENT ADDR={INSIDE}").code == 220
        client.ehlo("in.example")
        assert may_relay(client)
        client.starttls()
        assert not may_relay(client)
        assert client.transaction("a@anywhere.test", "b@dest.test", mail.message()).code == 250
        assert client.command(f"XCLIENT ADDR={INSIDE}").code == 220
        client.ehlo("in.example")
        assert may_relay(client)
    assert f"[{INSIDE}]" in " ".join(sink.wait(1)[0].header.decode().split())


def test_11_xclient_from_anybody_else(fronted):
    daemon, _ = fronted
    with Client(daemon.port, source=STRANGER) as client:
        client.ehlo()
        assert "XCLIENT" not in client.extensions
        reply = client.command(f"XCLIENT ADDR={INSIDE}")
        assert (reply.code, reply.enhanced) == (550, "5.7.0")
        assert not may_relay(client)
    daemon.wait_log(rf"NOQUEUE: reject: XCLIENT from .*\[{STRANGER}\]")
    # Nor from whoever is behind a front end, unless he is declared himself.
    with behind(daemon, v1(OUTSIDE)) as client:
        assert client.command(f"XCLIENT ADDR={INSIDE}").code == 550
    with behind(daemon, v1(INSIDE)) as client:
        assert client.command(f"XCLIENT ADDR={OUTSIDE}").code == 220
        client.ehlo()
        assert not may_relay(client)


def test_a_reload_changes_who_is_declared(fronted):
    daemon, _ = fronted
    daemon.write_config(listen="proxy_protocol from 127.0.0.10")
    daemon.ctl("reload")
    with behind(daemon, v1(INSIDE), front="127.0.0.10") as client:
        assert may_relay(client)
    with Client(daemon.port, source=FRONT) as client:
        client.ehlo()
        assert not may_relay(client)


def test_swaks_xclient(fronted):
    daemon, sink = fronted
    run = subprocess.run(
        ["swaks", "--server", f"127.0.0.1:{daemon.port}", "--local-interface", "127.0.0.8",
         "--from", "a@anywhere.test", "--to", "b@elsewhere.test", "--xclient-addr", INSIDE,
         "--xclient-name", "in.example", "--xclient-helo", "in.example"],
        capture_output=True, text=True, timeout=30,
    )
    assert run.returncode == 0, run.stdout
    assert f"[{INSIDE}]" in sink.wait(1)[0].header.decode()


@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"])
def test_haproxy(fronted, tmp_path, version):
    daemon, _ = fronted
    with Haproxy(tmp_path, daemon.port, version, FRONT) as proxy, Client(proxy.port, source=STRANGER) as client:
        client.ehlo()
        assert not may_relay(client)
        client.command("MAIL FROM:<a@b.test>")
        assert client.command("RCPT TO:<b@dest.test>").code == 250
        daemon.wait_log(rf"reject: RCPT from unknown\[{STRANGER}\]")
