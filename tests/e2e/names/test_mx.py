"""Where mail for a domain goes (RFC 5321 section 5)."""

import collections

import pytest

from lab import mail, ports, wait
from lab.client import send
from lab.relayd import DELIVERY
from lab.sink import CLOSE

RECORDS = """
ordered  MX 10 mx11
         MX 20 mx12
equal    MX 10 mx11
         MX 10 mx12
null     MX 0 .
alias    CNAME ordered
bare     A 127.0.0.11
bare6    AAAA ::1
mxcname  MX 10 alias11
alias11  CNAME mx11
two      MX 10 pair
pair     A 127.0.0.13
         A 127.0.0.11
gone     MX 10 nowhere
         MX 20 mx12
dead     MX 10 mx13
mx11     A 127.0.0.11
mx12     A 127.0.0.12
mx13     A 127.0.0.13
; senders
client   MX 10 mx12
"""


@pytest.fixture
def world(lab):
    """(relayd, sink of MX 11, sink of MX 12); nobody listens at mx13."""
    server = lab.dns(RECORDS)
    first, second = lab.mx(11), lab.mx(12)
    return lab.relayd(resolver=server.address), first, second


def post(daemon, domain, **args):
    reply = send(daemon.port, "a@client.test", f"b@{domain}.test", mail.message(), **args)
    assert reply.code == 250, reply
    return reply.queue_id


@pytest.mark.asan
def test_the_preferred_mx_gets_the_mail(world):
    daemon, first, second = world
    for _ in range(5):
        post(daemon, "ordered")
    first.wait(5)
    assert second.seen == []
    daemon.wait_log(r"to=<b@ordered\.test>, relay=mx11\.test\[127\.0\.0\.11\]:\d+, .*dsn=2\.0\.0, status=sent")


def test_equal_preferences_share(world):
    """Each connection draws anew; one that is open is used again."""
    daemon, first, second = world
    daemon.write_config(delivery=f"{DELIVERY}; messages_per_connection 1")
    daemon.ctl("reload")
    for _ in range(40):
        queue_id = post(daemon, "equal")
        daemon.wait_event(queue_id, "delivered")
        if first.messages and second.messages:
            return
    pytest.fail(f"40 messages went to one of two equal MX: {len(first.messages)}, {len(second.messages)}")


@pytest.mark.parametrize(
    "fault",
    ["refused", CLOSE, "421 4.3.2 not now", "554 5.3.2 no mail here"],
    ids=["refused", "closes", "421", "554"],
)
def test_the_backup_is_used_in_the_same_attempt(world, fault):
    daemon, first, second = world
    first.stop() if fault == "refused" else first.on("connect", fault)
    queue_id = post(daemon, "ordered")
    second.wait(1)
    daemon.wait_event(queue_id, "delivered")
    assert "deferred" not in daemon.event_kinds(queue_id)


def test_all_addresses_of_a_host_are_tried(world):
    daemon, first, _ = world
    post(daemon, "two")
    assert first.wait(1)[0].recipients == ["b@two.test"]


def test_an_mx_without_address_is_passed_over(world):
    daemon, _, second = world
    post(daemon, "gone")
    second.wait(1)


def test_31_null_mx_bounces_at_once(world):
    daemon, first, second = world
    queue_id = post(daemon, "null")
    (message,) = second.wait(1)
    bounce = mail.Bounce(message.content)
    assert bounce.recipient("b@null.test")["Status"].startswith("5.1.10")
    assert "bounced" in daemon.event_kinds(queue_id)
    assert first.seen == []


def test_a_cname_leads_on(world):
    daemon, first, _ = world
    post(daemon, "alias")
    # RFC 5321 section 2.3.5: what we send names the domain as given.
    assert first.wait(1)[0].recipients == ["b@alias.test"]


def test_an_mx_that_is_an_alias_is_tolerated(world):
    daemon, first, _ = world
    post(daemon, "mxcname")
    first.wait(1)


def test_without_mx_the_address_is_used(world):
    daemon, first, _ = world
    post(daemon, "bare")
    first.wait(1)


def test_ipv6_only(lab):
    server = lab.dns(RECORDS)
    try:
        sink = lab.sink("::1", lab.mx_port, name="six")
    except OSError:
        pytest.skip("no IPv6 on loopback")
    daemon = lab.relayd(resolver=server.address)
    post(daemon, "bare6")
    sink.wait(1)


def test_a_domain_that_does_not_exist_bounces(world):
    daemon, _, second = world
    post(daemon, "nosuchdomain")
    (message,) = second.wait(1)
    assert mail.Bounce(message.content).recipient("b@nosuchdomain.test")["Action"] == "failed"


def test_when_no_host_answers_the_mail_waits(world):
    daemon, _, second = world
    queue_id = post(daemon, "dead")
    daemon.wait_event(queue_id, "deferred")
    daemon.wait_log(rf"{queue_id}: to=<b@dead\.test>.*status=deferred \(.*[Cc]onnection refused")
    assert second.seen == []


def test_recipients_of_domains_with_the_same_mx_travel_together(world):
    daemon, first, _ = world
    send(daemon.port, "a@client.test", ["x@ordered.test", "y@ordered.test", "z@alias.test"], mail.message())
    wait.until(lambda: sum(len(m.recipients) for m in first.messages) == 3, "three recipients")
    counts = collections.Counter(len(m.recipients) for m in first.messages)
    assert counts[3] == 1 or counts[2] == 1


class TestLoops:
    """Mail that would come back to us is bounced, not sent round in circles."""

    def bounced(self, daemon, sink, domain):
        post(daemon, domain)
        (message,) = sink.wait(1)
        status = mail.Bounce(message.content).recipient(f"b@{domain}.test")["Status"]
        assert status.startswith("5.4.6"), status

    def test_31_mx_on_loopback(self, lab):
        server = lab.dns("loop MX 10 mx12\nmx12 A 127.0.0.12\n")
        sink = lab.sink()
        daemon = lab.relayd(
            resolver=server.address,
            mx_port=lab.mx_port,
            delivery="connections 10",  # loopback_mx stays refuse
            extra=f"smarthost back {{ host 127.0.0.1:{sink.port}; tls none }}",
            routes="route to client.test via back\nroute default direct",
        )
        self.bounced(daemon, sink, "loop")

    @pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "::1", "::", "::ffff:127.0.0.1"])
    def test_31_mx_that_is_no_address_of_a_host(self, lab, address):
        kind = "AAAA" if ":" in address else "A"
        server = lab.dns(f"loop MX 10 mx9\nmx9 {kind} {address}\n")
        sink = lab.sink()
        daemon = lab.relayd(
            resolver=server.address,
            mx_port=lab.mx_port,
            delivery="connections 10",
            extra=f"smarthost back {{ host 127.0.0.1:{sink.port}; tls none }}",
            routes="route to client.test via back\nroute default direct",
        )
        self.bounced(daemon, sink, "loop")

    def test_31_mx_that_bears_our_name(self, lab):
        server = lab.dns("loop MX 10 mx.relay\nmx.relay A 127.0.0.15\n")
        sink = lab.sink()
        lab.mx(15)
        daemon = lab.relayd(
            resolver=server.address,
            extra=f"smarthost back {{ host 127.0.0.1:{sink.port}; tls none }}",
            routes="route to client.test via back\nroute default direct",
        )
        self.bounced(daemon, sink, "loop")

    @pytest.mark.parametrize("listen", ["0.0.0.0", "*"])
    def test_31_mx_at_an_address_of_this_machine(self, lab, listen):
        address = ports.own_address()
        if address is None:
            pytest.skip("this machine has no address but loopback")
        server = lab.dns(f"loop MX 10 other\nother A {address}\n")
        sink = lab.sink()
        daemon = lab.relayd(
            resolver=server.address,
            mx_port=lab.mx_port,
            extra=f"listen {listen}:{lab.mx_port}\n"
            f"smarthost back {{ host 127.0.0.1:{sink.port}; tls none }}",
            routes="route to client.test via back\nroute default direct",
        )
        self.bounced(daemon, sink, "loop")

    def test_as_backup_mx_with_another_name_we_send_only_to_better_ones(self, lab):
        server = lab.dns(
            "dest MX 10 mx11\n MX 20 other\n MX 30 mx12\n"
            "mx11 A 127.0.0.11\nmx12 A 127.0.0.12\nother A 127.0.0.15\n"
        )
        first, worse = lab.mx(11), lab.mx(12)
        first.on("connect", ["421 4.3.2 not now"])
        daemon = lab.relayd(
            resolver=server.address,
            extra=f"listen 127.0.0.15:{lab.mx_port}",
            delivery="loopback_mx allow",
        )
        queue_id = post(daemon, "dest")
        first.wait(1)
        daemon.wait_event(queue_id, "delivered")
        assert worse.sessions == []

    def test_as_backup_mx_we_send_only_to_better_ones(self, lab):
        server = lab.dns(
            "dest MX 10 mx11\n MX 20 mx.relay\n MX 30 mx12\n"
            "mx11 A 127.0.0.11\nmx12 A 127.0.0.12\nmx.relay A 127.0.0.15\n"
        )
        first, worse = lab.mx(11), lab.mx(12)
        first.on("connect", ["421 4.3.2 not now"])
        daemon = lab.relayd(resolver=server.address, delivery="loopback_mx allow")
        queue_id = post(daemon, "dest")
        first.wait(1)
        daemon.wait_event(queue_id, "delivered")
        assert worse.sessions == []
