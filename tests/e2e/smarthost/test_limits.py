"""What a smart host wants of connections and messages is held."""

from lab import mail, wait
from lab.client import Client, send
from lab.sink import Slow


def post(daemon, recipient="b@dest.test"):
    reply = send(daemon.port, "a@client.test", [recipient], mail.message())
    assert reply.code == 250, reply
    return reply.queue_id


def many(daemon, count, recipient="b@dest.test"):
    with Client(daemon.port) as client:
        client.ehlo()
        for _ in range(count):
            client.command("MAIL FROM:<a@client.test>")
            client.command(f"RCPT TO:<{recipient}>")
            client.command("DATA")
            assert client.data(mail.message()).code == 250


def open_now(sink):
    """Sessions at work: one that has said QUIT is over, however long its end takes here."""
    return sum(1 for s in sink.sessions if s.sock.fileno() >= 0 and b"QUIT" not in s.commands)


def test_connections_of_all_routes_together(lab):
    sink = lab.sink()
    sink.on("eod", Slow(0.3, "250 2.0.0 taken"))
    most = []
    sink.on("connect", lambda session, _: most.append(open_now(sink)))
    daemon = lab.relayd(
        extra=f"smarthost out {{ host 127.0.0.1:{sink.port}; tls none; limit {{ connections 2 }} }}\n"
        f"smarthost other {{ host 127.0.0.1:{lab.sink().port}; tls none }}",
        routes="route to one.test via out\nroute to two.test via out, other\nroute default via out",
        delivery="loopback_mx allow; idle_timeout 50ms; messages_per_connection 3",
    )
    for name in ("one", "two", "three"):
        many(daemon, 8, f"b@{name}.test")
    sink.wait(24, timeout=60)
    assert max(most) <= 2


def test_the_rate_of_a_smart_host(lab):
    sink = lab.sink()
    daemon = lab.relayd(
        extra=f"smarthost out {{ host 127.0.0.1:{sink.port}; tls none; limit {{ rate 2/s }} }}",
        routes="route default via out",
    )
    many(daemon, 9)
    sink.wait(9, timeout=20)
    took = sink.messages[-1].at - sink.messages[0].at
    # A second's worth at once, then one every half second.
    assert 3.0 <= took <= 6 * wait.FACTOR, took
    # Any five take a second and a half to be given out; a slow machine may bunch them a little.
    spans = [b.at - a.at for a, b in zip(sink.messages, sink.messages[4:])]
    assert min(spans) > 0.9, spans


def test_the_rate_of_a_site(lab):
    server = lab.dns("dest MX 10 mx1\nother MX 10 mx2\nmx1 A 127.0.0.11\nmx2 A 127.0.0.12\n")
    slow, other = lab.mx(11), lab.mx(12)
    daemon = lab.relayd(resolver=server.address, delivery="loopback_mx allow; rate 1/h", routes="route default direct")
    post(daemon)
    slow.wait(1)
    queue_id = post(daemon)
    post(daemon, "b@other.test")
    other.wait(1)  # each site has its own
    wait.never(lambda: len(slow.seen) > 1, "the rate is not held", 2)
    assert daemon.recipient_state(queue_id, "b@dest.test") == "ready"
