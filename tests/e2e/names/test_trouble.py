"""DNS that fails or lies: mail waits, and never bounces for it."""

import dns.flags
import dns.message
import dns.rrset
import pytest

from lab import mail, ports, wait
from lab.client import send

GOOD = "dest MX 10 mx11\nmx11 A 127.0.0.11\n"


def post(daemon, address="b@dest.test"):
    reply = send(daemon.port, "a@client.test", address, mail.message())
    assert reply.code == 250, reply
    return reply.queue_id


def deferred(daemon, queue_id, timeout=60):
    """Deferred, with a reason of its own, and not bounced."""
    daemon.wait_event(queue_id, "deferred", timeout)
    assert "bounced" not in daemon.event_kinds(queue_id)
    assert queue_id in daemon.queue_ids()


def test_29_servfail_defers(lab):
    daemon = lab.relayd(resolver=lab.dns(GOOD).address)
    queue_id = post(daemon, "b@x.broken.test")
    deferred(daemon, queue_id)
    daemon.wait_log(rf"{queue_id}: to=<b@x\.broken\.test>.*dsn=4\.4\.3, status=deferred")


def test_29_silence_defers_and_ends(lab):
    server = lab.dns(GOOD)
    sink = lab.mx(11)
    daemon = lab.relayd(resolver=server.address)
    server.pause()
    queue_id = post(daemon)
    deferred(daemon, queue_id)
    server.resume()
    sink.wait(1, timeout=60)


def test_29_a_resolver_that_is_down_defers(lab):
    daemon = lab.relayd(resolver=f"127.0.0.1:{ports.free()}")
    deferred(daemon, post(daemon))


def test_the_second_resolver_is_asked(lab):
    sink = lab.mx(11)
    server = lab.dns(GOOD)
    daemon = lab.relayd(resolver=f"127.0.0.1:{ports.free()}", extra=f"resolver {server.address}")
    post(daemon)
    sink.wait(1, timeout=40)


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", "NOTIMP", "FORMERR"])
def test_29_error_codes_defer_then_clear(lab, rcode):
    fake = lab.fake_dns()
    fake.rcode("dest.test", "MX", rcode)
    fake.rcode("dest.test", "A", rcode)
    fake.answer("mx11.test", "A", "127.0.0.11")
    sink = lab.mx(11)
    daemon = lab.relayd(resolver=fake.address)
    queue_id = post(daemon)
    deferred(daemon, queue_id)
    fake.answer("dest.test", "MX", "10 mx11.test.")
    sink.wait(1, timeout=40)


def test_silence_for_one_family_holds_nothing_up(lab):
    """RFC 8305 section 3: the addresses that are known are dialled."""
    fake = lab.fake_dns()
    fake.answer("dest.test", "MX", "10 mx11.test.")
    fake.answer("mx11.test", "A", "127.0.0.11")
    fake.silence("mx11.test", "AAAA")
    sink = lab.mx(11)
    daemon = lab.relayd(resolver=fake.address)
    post(daemon)
    sink.wait(1, timeout=3)


def test_an_mx_whose_address_cannot_be_looked_up_defers(lab):
    fake = lab.fake_dns()
    fake.answer("dest.test", "MX", "10 mx11.test.")
    fake.rcode("mx11.test", "A", "SERVFAIL")
    fake.rcode("mx11.test", "AAAA", "SERVFAIL")
    daemon = lab.relayd(resolver=fake.address, mx_port=lab.mx_port)
    deferred(daemon, post(daemon))


def test_32_late_answers_are_enough(lab):
    fake = lab.fake_dns()
    fake.answer("dest.test", "MX", "10 mx11.test.", late=1)
    fake.answer("mx11.test", "A", "127.0.0.11", late=1)
    sink = lab.mx(11)
    post(lab.relayd(resolver=fake.address))
    sink.wait(1, timeout=40)


def test_32_truncated_answers_are_asked_again_over_tcp(lab):
    fake = lab.fake_dns()

    def truncated(query, over_tcp):
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.AA
        if over_tcp:
            hosts = [f"{20 + n} mx{n}-with-a-long-name.test." for n in range(60)] + ["10 mx11.test."]
            reply.answer.append(dns.rrset.from_text("dest.test.", 60, "IN", "MX", *hosts))
        else:
            reply.flags |= dns.flags.TC
        return reply

    fake.script("dest.test", "MX", truncated)
    fake.answer("mx11.test", "A", "127.0.0.11")
    sink = lab.mx(11)
    post(lab.relayd(resolver=fake.address))
    sink.wait(1, timeout=40)
    assert ("dest.test", "MX", True) in fake.asked


def test_32_answers_with_a_wrong_id_are_not_believed(lab):
    fake = lab.fake_dns()

    def forged(query, over_tcp):
        reply = dns.message.make_response(query)
        reply.answer.append(dns.rrset.from_text("dest.test.", 60, "IN", "MX", "10 mx12.test."))
        wire = bytearray(reply.to_wire())
        wire[0] ^= 0xFF
        return bytes(wire)

    fake.script("dest.test", "MX", forged)
    fake.answer("mx12.test", "A", "127.0.0.12")
    stranger = lab.mx(12)
    daemon = lab.relayd(resolver=fake.address)
    deferred(daemon, post(daemon))
    assert stranger.sessions == []


def test_32_a_cname_loop_ends(lab):
    fake = lab.fake_dns()
    for kind in ("MX", "A", "AAAA"):
        fake.script("dest.test", kind, cname("dest.test.", "b.test."))
        fake.script("b.test", kind, cname("b.test.", "dest.test."))
    daemon = lab.relayd(resolver=fake.address)
    queue_id = post(daemon)
    wait.until(
        lambda: {"deferred", "bounced"} & set(daemon.event_kinds(queue_id)), "an end of the loop", 40
    )
    assert len(fake.asked) < 500


def cname(name, target):
    def make(query, over_tcp):
        reply = dns.message.make_response(query)
        reply.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", target))
        return reply

    return make


def test_32_hundreds_of_mx_hosts_are_bounded(lab):
    fake = lab.fake_dns()
    fake.answer("dest.test", "MX", *[f"10 h{n}.test." for n in range(300)], ttl=60)
    for n in range(300):
        fake.answer(f"h{n}.test", "A", "127.0.0.13", ttl=60)  # where nobody listens
    daemon = lab.relayd(resolver=fake.address, mx_port=lab.mx_port)
    deferred(daemon, post(daemon), 40)
    asked = {name for name, kind, _ in fake.asked if name.startswith("h")}
    assert len(asked) <= 40


@pytest.mark.parametrize("lame", [True, False])
def test_30_nxdomain_is_only_believed_from_an_answer(lab, lame):
    """A resolver failing between two good answers must not bounce anything, nor one
    that knows nothing of the domain, asks nobody, and says NXDOMAIN all the same."""
    fake = lab.fake_dns()
    if lame:
        fake.rcode("dest.test", "MX", "NXDOMAIN")
    else:
        fake.silence("dest.test", "MX")
    fake.answer("mx11.test", "A", "127.0.0.11")
    sink = lab.mx(11)
    daemon = lab.relayd(resolver=fake.address)
    queue_id = post(daemon)
    deferred(daemon, queue_id)
    fake.answer("dest.test", "MX", "10 mx11.test.")
    sink.wait(1, timeout=60)
    assert "bounced" not in daemon.event_kinds(queue_id)


def test_answers_are_kept_for_their_time_to_live(lab):
    fake = lab.fake_dns()
    fake.answer("dest.test", "MX", "10 mx11.test.", ttl=300)
    fake.answer("mx11.test", "A", "127.0.0.11", ttl=300)
    sink = lab.mx(11)
    daemon = lab.relayd(resolver=fake.address, delivery="loopback_mx allow; messages_per_connection 1")
    for n in range(5):
        post(daemon)
        sink.wait(n + 1)
    assert sum(1 for name, kind, _ in fake.asked if (name, kind) == ("dest.test", "MX")) <= 2


def test_a_reload_names_other_servers(lab):
    silent, good = lab.fake_dns(default=None), lab.fake_dns()
    good.answer("dest.test", "MX", "10 mx1.test.")
    good.answer("mx1.test", "A", "127.0.0.11")
    lab.mx_port
    sink = lab.mx(11)
    daemon = lab.relayd(resolver=silent.address)
    send(daemon.port, "a@client.test", "b@dest.test", mail.message())
    wait.until(lambda: silent.asked, "a question to the silent server")
    daemon.write_config(resolver=good.address)
    daemon.ctl("reload")
    sink.wait(1, timeout=6)  # the question under way is asked again, before it would time out
