"""Row 56: a peer is gone without a word, at any moment of a session."""

import os
import socket
import threading
import time

import pytest

from lab import mail, network, wait
from lab.client import Client, send

DEADLINE = 2  # seconds, of every wait for the peer
LARGE = 8_000_000  # more than a kernel takes on its own


@pytest.fixture
def far(lab):
    reason = network.available()
    if reason:
        pytest.skip(reason)
    return lab._keep(network.FarHost())


def sockets_of(pid, port):
    """The connections to or from a port that a process holds: bytes that wait to be sent in each."""
    mine, waiting = set(), []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            mine.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except FileNotFoundError:
            pass
    for line in open("/proc/net/tcp").read().splitlines()[1:]:
        fields = line.split()
        ports = {int(fields[n].rpartition(":")[2], 16) for n in (1, 2)}
        if port in ports and fields[3] != "0A" and f"socket:[{fields[9]}]" in mine:  # 0A: it listens
            waiting.append(int(fields[4].partition(":")[0], 16))
    return waiting


# -- clients that are gone


def idle(client):
    pass


def in_an_envelope(client):
    client.ehlo()
    client.command("MAIL FROM:<a@client.test>")


def in_content(client):
    in_an_envelope(client)
    client.command("RCPT TO:<b@dest.test>")
    assert client.command("DATA").code == 354
    client.send("Subject: it will not end\r\n\r\n" + "x" * 70 + "\r\n")


def in_a_chunk(client):
    in_an_envelope(client)
    client.command("RCPT TO:<b@dest.test>")
    client.send("BDAT 100000 LAST\r\n" + "x" * 70 + "\r\n")


def not_reading(client):
    """Replies beyond what the kernels buffer, and nobody takes them."""
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

    def flood():
        try:
            while True:
                client.send("EHLO client.test\r\n" * 1000)
        except OSError:
            pass

    threading.Thread(target=flood, daemon=True).start()


STAGES = [idle, in_an_envelope, in_content, in_a_chunk, not_reading]


@pytest.fixture
def serving(lab, far):
    """A relayd with room for as many as there are stages, on our end of the cable."""
    daemon = lab.relayd(
        extra=f"listen {far.near}:{lab.mx_port}",
        trusted=f"{far.address}, 127.0.0.0/8",
        limits=f"command_timeout {DEADLINE}s; data_timeout {DEADLINE}s; connections {len(STAGES)}; "
        "errors 10000; idle_commands 10000",
    )
    return daemon, lab.mx_port


def test_56_clients_that_are_gone_make_room(serving, far):
    daemon, port = serving
    clients = []
    for stage in STAGES:
        with far.inside():
            client = Client(port, host=far.near)
        clients.append(client)
        stage(client)
    with Client(daemon.port) as late:
        assert late.greeting.code == 421, late.greeting
    wait.until(lambda: max(sockets_of(daemon.engine(), port), default=0) > 1000, "replies that nobody takes")
    far.cut()
    began = time.monotonic()
    # The last word to each, "421 idle too long", waits 10 s for room on the way.
    wait.until(lambda: not sockets_of(daemon.engine(), port), "no session of theirs is left", DEADLINE + 20)
    assert time.monotonic() - began > 1, "not by a deadline"
    assert daemon.queue() == []
    full = [Client(daemon.port) for _ in STAGES]
    assert [client.greeting.code for client in full] == [220] * len(STAGES)
    for client in [*full, *clients]:
        client.close()


def test_56_a_client_gone_in_a_handshake(lab, far):
    daemon = lab.relayd(extra=f"listen {far.near}:{lab.mx_port} {{ tls implicit }}", limits=f"command_timeout {DEADLINE}s")
    with far.inside():
        client = Client(lab.mx_port, host=far.near, greet=False)
    client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")  # a hello that has but begun
    wait.until(lambda: sockets_of(daemon.engine(), lab.mx_port), "it is served")
    far.cut()
    wait.until(lambda: not sockets_of(daemon.engine(), lab.mx_port), "it is not any more", DEADLINE + 10)
    client.close()


# -- next hops that are gone


DELIVERY = "loopback_mx allow; " + "; ".join(
    f"{name}_timeout {DEADLINE}s" for name in ("connect", "greeting", "command", "data", "idle")
) + "; final_timeout 8s"  # a sink on a busy machine may need a while for what is large


def sending(lab, far, **options):
    with far.inside():
        sink = lab.sink(far.address, **options)
    daemon = lab.relayd(
        extra=f"smarthost sink {{ host {far.address}:{sink.port}; tls {'required' if sink.tls else 'none'} }}",
        routes="route default via sink",
        delivery=DELIVERY,
        retry="first 3s; factor 1; max 3s; doubt 3s; expire 5d; warn never",
    )
    return daemon, sink


def post(daemon, size=1000):
    reply = send(daemon.port, "a@client.test", "b@dest.test", mail.message(body=mail.big_body(size, "gone")))
    assert reply.code == 250, reply
    return reply.queue_id


def then_all_is_well(daemon, far, sink, queue_id, ended, copies=1):
    """The attempt ends by its deadline and leaves nothing; mended, the message arrives."""
    daemon.wait_event(queue_id, ended, DEADLINE * 2 + 10)
    wait.until(lambda: not sockets_of(daemon.engine(), sink.port), "no connection is left", DEADLINE + 20)
    assert "bounced" not in daemon.event_kinds(queue_id)
    far.mend()
    daemon.wait_empty(30)
    sink.wait(copies)
    assert len(sink.messages) == copies


def cut_at(far, answer=None):
    """A script for a step: the first answer never gets through."""
    done = []

    def script(session, argument):
        if done:
            return None
        done.append(True)
        far.cut()
        return answer

    return script


def test_56_a_next_hop_that_is_not_there(lab, far):
    daemon, sink = sending(lab, far)
    far.cut()
    then_all_is_well(daemon, far, sink, post(daemon), "deferred")


@pytest.mark.parametrize("step", ["connect", "ehlo", "mail", "data"])
def test_56_a_next_hop_gone_at_a_step(lab, far, step):
    daemon, sink = sending(lab, far)
    sink.on(step, cut_at(far))
    then_all_is_well(daemon, far, sink, post(daemon), "deferred")


def test_56_a_next_hop_gone_in_a_handshake(lab, far):
    daemon, sink = sending(lab, far, tls=lab.pki.server("sink.test"))
    sink.on("handshake", cut_at(far, b""))
    then_all_is_well(daemon, far, sink, post(daemon), "deferred")


def test_56_a_next_hop_gone_amid_the_content(lab, far):
    """Windows fill up: what was written is not yet sent."""
    daemon, sink = sending(lab, far)

    def amid(session, argument):
        sink.on("content", None)
        session.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wait.until(lambda: max(sockets_of(daemon.engine(), sink.port), default=0) > 10_000, "a queue for the wire")
        far.cut()

    sink.on("content", amid)
    queue_id = post(daemon, LARGE)
    then_all_is_well(daemon, far, sink, queue_id, "deferred")
    assert "in doubt" not in daemon.event_kinds(queue_id)


def test_56_a_next_hop_gone_before_its_last_reply(lab, far):
    """In doubt, as whenever that reply is missing."""
    daemon, sink = sending(lab, far)
    sink.on("eod", cut_at(far))
    then_all_is_well(daemon, far, sink, post(daemon), "in doubt", copies=2)


def test_56_a_next_hop_gone_while_its_connection_is_kept(lab, far):
    """The next message finds a connection that leads nowhere: it is not lost with it."""
    daemon, sink = sending(lab, far)
    daemon.wait_event(post(daemon), "delivered")
    assert len(sockets_of(daemon.engine(), sink.port)) == 1
    far.cut()
    queue_id = post(daemon)
    then_all_is_well(daemon, far, sink, queue_id, "deferred", copies=2)
