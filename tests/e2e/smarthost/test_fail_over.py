"""A list of smart hosts: who gets the mail while the first one is ill, and after."""

import pytest

from lab import mail, wait
from lab.client import send
from lab.sink import CLOSE, Slow


def post(daemon, recipient="b@dest.test"):
    reply = send(daemon.port, "a@client.test", [recipient], mail.message())
    assert reply.code == 250, reply
    return reply.queue_id


def status(daemon, title="out"):
    return next(s for s in daemon.json("status")["smarthosts"] if s["title"] == title)


def relay(lab, *sinks, more="tls none", **options):
    hosts = ", ".join(f"127.0.0.1:{s.port}" for s in sinks)
    options.setdefault("retry", "first 2s; factor 2; max 2s; doubt 3s; expire 10m; warn 5m")
    return lab.relayd(
        extra=f"smarthost out {{ host {hosts}; {more} }}", routes="route default via out", env=lab.pki.env, **options
    )


def test_over_and_back(lab):
    first, second = lab.sink(name="first"), lab.sink(name="second")
    daemon = relay(lab, first, second)
    post(daemon)
    first.wait(1)
    assert not status(daemon)["on_backup"]
    first.stop()
    queue_ids = [post(daemon) for _ in range(3)]
    second.wait(3)
    for queue_id in queue_ids:
        daemon.wait_event(queue_id, "delivered")
        assert "deferred" not in daemon.event_kinds(queue_id)
    seen = status(daemon)
    assert seen["on_backup"]
    assert seen["hosts"][0]["failures"] >= 1 and "refused" in seen["hosts"][0]["last_error"]
    assert seen["hosts"][1]["failures"] == 0
    assert f"on backup 127.0.0.1:{second.port}" in daemon.ctl("status").stdout
    first.start()
    # Probed by mail, when its time is up; then all goes there again.
    wait.until(lambda: post(daemon) and len(first.messages) >= 2, "the first is used again", 30, step=0.3)
    daemon.wait_empty()
    taken, before = len(second.messages), len(first.messages)
    post(daemon)
    first.wait(before + 1)
    assert len(second.messages) == taken
    assert not status(daemon)["on_backup"]
    # Told once each way.
    fails = f"smarthost out: 127.0.0.1:{first.port} fails: "
    assert daemon.log.count(fails) == 1
    assert f"until it answers again mail goes by 127.0.0.1:{second.port}" in daemon.log
    assert daemon.log.count(f"smarthost out: 127.0.0.1:{first.port} answers again") == 1


@pytest.mark.parametrize("illness", ["connect", "ehlo", "tls", "certificate", "login"])
def test_what_makes_a_host_ill(lab, illness):
    good = lab.pki.server("127.0.0.1")
    logins = {"u": "password-1"}
    first, second = (lab.sink(tls=good, logins=logins) for _ in range(2))
    if illness == "connect":
        first.on("connect", "421 4.3.2 not today")
    elif illness == "ehlo":
        first.on("ehlo", CLOSE)
    elif illness == "tls":
        first.on("handshake", b"garbage\r\n")
    elif illness == "certificate":
        first.tls = lab.pki.server("other.test")
    else:
        first.logins = {"u": "another"}
    daemon = relay(lab, first, second, more="user u; password password-1", retry="first 1m; max 1m")
    queue_id = post(daemon)
    assert second.wait(1)[0].login == "u"
    daemon.wait_event(queue_id, "delivered")
    assert "deferred" not in daemon.event_kinds(queue_id)
    post(daemon)
    second.wait(2)
    assert first.connections == 1  # it is not asked by every message
    assert first.seen == []


def test_a_refused_recipient_is_no_illness(lab):
    first, second = lab.sink(), lab.sink()
    first.on("rcpt", "450 4.2.1 mailbox busy")
    daemon = relay(lab, first, second)
    daemon.wait_event(post(daemon), "deferred")
    assert second.connections == 0
    assert not status(daemon)["on_backup"]


def test_all_ill_defers_with_the_reason_and_recovers(lab):
    first, second = lab.sink(), lab.sink()
    first.stop()
    second.stop()
    daemon = relay(lab, first, second)
    queue_id = post(daemon)
    event = daemon.wait_event(queue_id, "deferred")[0]
    assert "refused" in event["reply"]["text"].lower()
    assert all(h["failures"] >= 1 for h in status(daemon)["hosts"])
    assert "no host answers" in daemon.ctl("status").stdout
    second.start()
    second.wait(1, timeout=30)
    assert first.messages == []


def test_one_message_probes_while_the_others_go_on(lab):
    first, second = lab.sink(), lab.sink()
    first.stop()
    daemon = relay(lab, first, second, retry="first 2s; factor 1; max 2s")
    post(daemon)
    second.wait(1)
    first.on("connect", Slow(5, "220 first ESMTP"))
    first.start()
    before = len(second.messages)
    wait.until(lambda: post(daemon) and first.connections >= 1, "the first is probed", 20, step=0.1)
    for _ in range(5):
        post(daemon)
    second.wait(before + 5, timeout=10)
    assert first.connections == 1


def test_several_smart_hosts_of_a_route(lab):
    first, second = lab.sink(), lab.sink()
    first.stop()
    daemon = lab.relayd(
        extra=f"smarthost one {{ host 127.0.0.1:{first.port}; tls none }}\n"
        f"smarthost two {{ host 127.0.0.1:{second.port}; tls none }}",
        routes="route to other.test via one\nroute default via one, two",
        retry="first 1m; max 1m",
    )
    post(daemon)
    second.wait(1)
    # What one route found out the other one knows.
    first.start()
    queue_id = post(daemon, "b@other.test")
    wait.never(lambda: first.connections, "the ill one is asked", 1)
    view = daemon.recipients(queue_id)["b@other.test"]
    assert "refused" in str(view).lower()


def test_a_reload_gives_an_ill_host_a_new_chance(lab):
    first = lab.sink(tls=lab.pki.server("127.0.0.1"), logins={"u": "password-1"})
    daemon = relay(lab, first, more="user u; password password-2", retry="first 5m; max 5m")
    daemon.wait_event(post(daemon), "deferred")
    daemon.write_config(extra=daemon.extra.replace("password-2", "password-1"))
    daemon.ctl("reload")
    post(daemon)
    assert first.wait(1)[0].login == "u"


def test_a_smart_host_that_is_ourselves_or_nowhere_is_passed_over(lab):
    server = lab.dns("there A 127.0.0.11\n")
    sink = lab.mx(11)
    daemon = lab.relayd(start=False, resolver=server.address, routes="route default via out")
    daemon.write_config(
        extra=f"smarthost out {{ host 127.0.0.1:{daemon.port}, gone.test:{lab.mx_port}, there.test:{lab.mx_port}; tls none }}\n"
        f"smarthost lost {{ host 127.0.0.1:{daemon.port}; tls none }}",
        routes="route to lost.test via lost\nroute default via out",
    )
    daemon.start()
    queue_id = post(daemon)
    sink.wait(1)
    daemon.wait_event(queue_id, "delivered")
    assert "deferred" not in daemon.event_kinds(queue_id)
    reply = daemon.wait_event(post(daemon, "b@lost.test"), "deferred")[0]["reply"]
    assert reply["text"] == "smart host 127.0.0.1 is this server itself" and reply["status"] == "4.4.6"
