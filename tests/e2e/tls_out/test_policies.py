"""TLS towards next hops: each policy against good, bad, missing and hostile TLS.

The promise: where a policy wants TLS, nothing of a message is ever sent
without it; where it is optional, no mail waits for want of it.
"""

import pytest

from lab import mail, wait
from lab.client import send
from lab.sink import CLOSE


def post(daemon, recipient="b@dest.test"):
    reply = send(daemon.port, "a@client.test", [recipient], mail.message())
    assert reply.code == 250, reply
    return reply.queue_id


def relay(lab, sinks, tls, **options):
    sinks = sinks if isinstance(sinks, list) else [sinks]
    hosts = ", ".join(f"127.0.0.1:{s.port}" for s in sinks)
    return lab.relayd(
        extra=f"smarthost out {{ host {hosts}{f'; tls {tls}' if tls else ''} }}",
        routes="route default via out",
        env=lab.pki.env,
        **options,
    )


def in_the_clear(sink):
    """What was said on connections without TLS beyond EHLO and STARTTLS."""
    harmless = (b"EHLO", b"STARTTLS", b"QUIT")
    return [c for s in sink.sessions if s.tls is None for c in s.commands if c.split()[0] not in harmless]


def tls_of(daemon, queue_id):
    return next(e.get("tls") for e in daemon.events(queue_id) if e["event"] == "delivered")


# -- what works


@pytest.mark.parametrize("tls,trust", [("optional", "trusted"), ("required", "trusted"), (None, "verified")])
def test_a_good_certificate(lab, tls, trust):
    sink = lab.sink(tls=lab.pki.server("127.0.0.1"))
    daemon = relay(lab, sink, tls)
    queue_id = post(daemon)
    assert sink.wait(1)[0].tls == "TLSv1.3"
    daemon.wait_event(queue_id, "delivered")
    assert tls_of(daemon, queue_id) == f"TLSv1.3 TLS_AES_256_GCM_SHA384 {trust}"
    daemon.wait_log(
        rf"{trust.capitalize()} TLS connection established to 127\.0\.0\.1\[127\.0\.0\.1\]:{sink.port}: "
        r"TLSv1\.3 with cipher TLS_AES_256_GCM_SHA384 \(256/256 bits\)"
    )
    assert f"({tls_of(daemon, queue_id)})" in daemon.ctl("trace", queue_id).stdout
    assert sink.violations == [] and in_the_clear(sink) == []
    # RFC 3207: EHLO again, inside.
    assert [c.split()[0] for c in sink.sessions[0].commands][:3] == [b"EHLO", b"STARTTLS", b"EHLO"]


@pytest.mark.parametrize("kind", ["other-name", "self-signed", "expired"])
@pytest.mark.parametrize("tls", ["optional", "required"])
def test_any_certificate_will_do(lab, tls, kind):
    sink = lab.sink(tls=bad_certificate(lab, kind))
    daemon = relay(lab, sink, tls)
    queue_id = post(daemon)
    assert sink.wait(1)[0].tls == "TLSv1.3"
    daemon.wait_event(queue_id, "delivered")
    assert tls_of(daemon, queue_id).endswith(" untrusted")
    daemon.wait_log(r"Untrusted TLS connection established")
    assert in_the_clear(sink) == []


def bad_certificate(lab, kind):
    if kind == "self-signed":
        return lab.pki.self_signed("127.0.0.1")
    if kind == "expired":
        return lab.pki.server("127.0.0.1", expired=True)
    return lab.pki.server("other.test")


def test_tls_from_the_first_byte(lab):
    sink = lab.sink(tls=lab.pki.server("127.0.0.1"), implicit=True)
    daemon = relay(lab, sink, "verified implicit")
    post(daemon)
    assert sink.wait(1)[0].tls == "TLSv1.3"
    assert sink.sessions[0].commands[0].startswith(b"EHLO")


def test_sessions_are_resumed_by_the_same_policy_only(lab):
    sink = lab.sink(tls=lab.pki.server("127.0.0.1"))
    daemon = lab.relayd(
        extra=f"smarthost one {{ host 127.0.0.1:{sink.port} }}\n"
        f"smarthost two {{ host 127.0.0.1:{sink.port}; tls required }}",
        routes="route to two.test via two\nroute default via one",
        delivery="loopback_mx allow; idle_timeout 10ms",
        env=lab.pki.env,
        loops="1",
    )
    post(daemon)
    sink.wait(1)
    wait.until(lambda: b"QUIT" in sink.sessions[0].commands, "the first connection ends")
    post(daemon)
    assert sink.wait(2)[1].resumed
    post(daemon, "b@two.test")
    assert not sink.wait(3)[2].resumed  # verified for one is not verified for all
    assert [m.resumed for m in sink.messages] == [False, True, False]


# -- reliability 18: a wrong certificate where policy demands one


@pytest.mark.parametrize("kind,reason", [
    ("other-name", "mismatch"),
    ("self-signed", "self.signed"),
    ("expired", "expired"),
])
def test_18_verified_sends_nothing_to_a_wrong_certificate(lab, kind, reason):
    sink = lab.sink(tls=bad_certificate(lab, kind))
    daemon = relay(lab, sink, "verified")
    queue_id = post(daemon)
    event = daemon.wait_event(queue_id, "deferred")[0]
    assert "TLS with 127.0.0.1[127.0.0.1]" in event["reply"]["text"]
    daemon.wait_log(rf"status=deferred \(TLS with .*{reason}")
    wait.until(lambda: sink.connections >= 2, "it is tried again")
    assert sink.seen == [] and in_the_clear(sink) == []
    assert all(b"MAIL" not in c for s in sink.sessions for c in s.commands)
    # The certificate is put right: the mail goes.
    sink.tls = lab.pki.server("127.0.0.1")
    sink.wait(1, timeout=30)


def test_18_verified_wants_the_name_that_was_asked_for(lab):
    server = lab.dns("out A 127.0.0.11\n")
    sink = lab.mx(11, tls=lab.pki.server("out.test"))
    wrong = f"smarthost out {{ host out.test:{lab.mx_port} }}"
    daemon = lab.relayd(resolver=server.address, extra=wrong, routes="route default via out", env=lab.pki.env)
    post(daemon)
    assert sink.wait(1)[0].tls
    daemon.wait_log(r"Verified TLS connection established to out\.test\[127\.0\.0\.11\]")


# -- reliability 19: STARTTLS stripped


@pytest.mark.parametrize("tls", ["required", "verified"])
def test_19_stripped_and_required(lab, tls):
    sink = lab.sink()
    daemon = relay(lab, sink, tls)
    queue_id = post(daemon)
    event = daemon.wait_event(queue_id, "deferred")[0]
    assert event["reply"]["text"] == "TLS is required here, and the server does not offer STARTTLS"
    assert event["reply"]["status"] == "4.7.4"
    wait.until(lambda: sink.connections >= 2, "it is tried again")
    assert sink.seen == [] and in_the_clear(sink) == []


@pytest.mark.parametrize("answer", ["454 4.7.0 not now", "502 5.5.1 unknown"])
def test_starttls_refused(lab, answer):
    sink = lab.sink(tls=lab.pki.server("127.0.0.1"))
    sink.on("starttls", answer)
    daemon = lab.relayd(
        extra=f"smarthost soft {{ host 127.0.0.1:{sink.port}; tls optional }}\n"
        f"smarthost hard {{ host 127.0.0.1:{sink.port}; tls required }}",
        routes="route to hard.test via hard\nroute default via soft",
        env=lab.pki.env,
    )
    hard = post(daemon, "b@hard.test")
    event = daemon.wait_event(hard, "deferred")[0]
    assert "refuses STARTTLS" in event["reply"]["text"]
    assert in_the_clear(sink) == []
    post(daemon)
    assert sink.wait(1)[0].tls is None
    assert [m.recipients for m in sink.seen] == [["b@dest.test"]]


def test_stripped_and_optional(lab):
    sink = lab.sink()
    daemon = relay(lab, sink, "optional")
    queue_id = post(daemon)
    assert sink.wait(1)[0].tls is None
    daemon.wait_event(queue_id, "delivered")
    assert tls_of(daemon, queue_id) is None


def test_none_does_not_take_what_is_offered(lab):
    sink = lab.sink(tls=lab.pki.server("127.0.0.1"))
    post(relay(lab, sink, "none"))
    assert sink.wait(1)[0].tls is None


# -- reliability 57: the handshake fails


@pytest.mark.parametrize("instead", [b"garbage instead of a handshake\r\n", CLOSE])
def test_57_optional_goes_on_in_the_clear_in_the_same_attempt(lab, instead):
    sink = lab.sink(tls=lab.pki.server("127.0.0.1"))
    sink.on("handshake", instead)
    daemon = relay(lab, sink, "optional", delivery="loopback_mx allow; idle_timeout 10ms")
    queue_id = post(daemon)
    assert sink.wait(1)[0].tls is None
    daemon.wait_event(queue_id, "delivered")
    assert "deferred" not in daemon.event_kinds(queue_id)
    assert sink.connections == 2
    daemon.wait_log(r"TLS with .* failed: .*; TLS is optional here: once more in the clear")
    # It is remembered: the next message does not try again.
    wait.until(lambda: b"QUIT" in sink.sessions[1].commands, "the connection ends")
    post(daemon)
    sink.wait(2)
    assert sink.connections == 3
    assert [b"STARTTLS" in s.commands for s in sink.sessions] == [True, False, False]


@pytest.mark.parametrize("tls", ["required", "verified", "verified implicit"])
def test_a_failed_handshake_defers_where_tls_is_a_must(lab, tls):
    sink = lab.sink(tls=lab.pki.server("127.0.0.1"), implicit="implicit" in tls)
    sink.on("handshake", [b"garbage\r\n", CLOSE])
    daemon = relay(lab, sink, tls)
    queue_id = post(daemon)
    event = daemon.wait_event(queue_id, "deferred")[0]
    assert "TLS with" in event["reply"]["text"] and event["reply"]["status"] == "4.7.5"
    assert sink.wait(1, timeout=30)[0].tls
    assert in_the_clear(sink) == []


# -- reliability 17: bytes behind the 220


@pytest.mark.parametrize("tls", ["optional", "required"])
@pytest.mark.parametrize("injected", [b"250-evil\r\n250 SIZE 1\r\n", b"\x16\x03\x03", b"2"])
def test_17_bytes_behind_the_220_end_the_session(lab, tls, injected):
    sink = lab.sink(tls=lab.pki.server("127.0.0.1"))
    sink.on("starttls", [b"220 go\r\n" + injected])
    daemon = relay(lab, sink, tls)
    queue_id = post(daemon)
    event = daemon.wait_event(queue_id, "deferred")[0]
    assert event["reply"]["text"] == "server sent bytes in the clear behind its answer to STARTTLS"
    assert sink.wait(1, timeout=30)[0].tls
    assert in_the_clear(sink) == []
    daemon.wait_event(queue_id, "delivered")


# -- mail exchangers


def test_mx_default_is_optional_and_routes_may_want_more(lab):
    server = lab.dns("dest MX 10 mx1\nbank MX 10 mx1\nmx1 A 127.0.0.11\n")
    sink = lab.mx(11, tls=lab.pki.server("mx1.test"))
    daemon = lab.relayd(
        resolver=server.address,
        routes="route to bank.test direct { tls verified }\nroute default direct",
        env=lab.pki.env,
    )
    post(daemon)
    daemon.wait_log(r"Trusted TLS connection established to mx1\.test")
    post(daemon, "b@bank.test")
    daemon.wait_log(r"Verified TLS connection established to mx1\.test")
    sink.wait(2)
    # The same host by another policy is another site: connections aren't shared.
    assert sink.messages[0].connection != sink.messages[1].connection


def test_a_route_that_wants_tls_does_not_use_a_connection_in_the_clear(lab):
    server = lab.dns("dest MX 10 mx1\nbank MX 10 mx1\nmx1 A 127.0.0.11\n")
    sink = lab.mx(11)
    daemon = lab.relayd(
        resolver=server.address,
        routes="route to bank.test direct { tls required }\nroute default direct",
        delivery="loopback_mx allow; idle_timeout 1m",
        env=lab.pki.env,
    )
    post(daemon)
    sink.wait(1)
    queue_id = post(daemon, "b@bank.test")
    daemon.wait_event(queue_id, "deferred")
    assert len(sink.seen) == 1


def test_the_backup_exchanger_has_tls(lab):
    server = lab.dns("dest MX 10 mx1\ndest MX 20 mx2\nmx1 A 127.0.0.11\nmx2 A 127.0.0.12\n")
    first = lab.mx(11)
    second = lab.mx(12, tls=lab.pki.server("mx2.test"))
    daemon = lab.relayd(
        resolver=server.address, routes="route default direct { tls verified }", env=lab.pki.env
    )
    queue_id = post(daemon)
    assert second.wait(1)[0].tls
    assert "deferred" not in daemon.event_kinds(queue_id)
    assert in_the_clear(first) == [] and first.seen == []
