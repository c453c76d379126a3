"""The first route that matches decides; the default comes last."""

import pytest

from lab import mail, wait
from lab.client import Client, send


def post(daemon, recipients, sender="a@client.test", **args):
    reply = send(daemon.port, sender, recipients, mail.message(), **args)
    assert reply.code == 250, reply
    return reply.queue_id


def smarthost(title, *sinks):
    hosts = ", ".join(f"127.0.0.1:{sink.port}" for sink in sinks)
    return f"smarthost {title} {{ host {hosts}; tls none }}\n"


def test_routes_by_recipient_and_sender(lab):
    one, two, three = lab.sink(), lab.sink(), lab.sink()
    daemon = lab.relayd(
        extra=smarthost("one", one) + smarthost("two", two) + smarthost("three", three),
        routes="route from @shop.test to vip@dest.test via three\n"
        "route to dest.test via one\nroute from @shop.test via two\nroute default hold",
    )
    post(daemon, "b@dest.test")
    post(daemon, "b@other.test", sender="x@shop.test")
    post(daemon, "vip@dest.test", sender="x@shop.test")
    held = post(daemon, "b@other.test")
    assert one.wait(1)[0].recipients == ["b@dest.test"]
    assert two.wait(1)[0].recipients == ["b@other.test"]
    assert three.wait(1)[0].recipients == ["vip@dest.test"]
    assert daemon.recipient_state(held, "b@other.test") == "held"


def test_one_message_by_several_routes(lab):
    one, two = lab.sink(), lab.sink()
    daemon = lab.relayd(
        extra=smarthost("one", one) + smarthost("two", two),
        routes="route to one.test via one\nroute to two.test via two\n"
        'route to never.test reject "not here"\nroute to gone.test discard\nroute default hold',
    )
    with Client(daemon.port) as client:
        client.ehlo()
        client.command("MAIL FROM:<a@client.test>")
        codes = [
            client.command(f"RCPT TO:<b@{name}.test>").code
            for name in ("one", "two", "never", "gone", "kept")
        ]
        assert codes == [250, 250, 550, 250, 250]
        client.command("DATA")
        queue_id = client.data(mail.message()).queue_id
    one.wait(1)
    two.wait(1)
    daemon.wait_event(queue_id, "discarded")
    wait.until(lambda: list(daemon.recipients(queue_id)) == ["b@kept.test"], "only the held one is left")


def test_reject_says_why(lab):
    daemon = lab.relayd(routes='route to old.test reject "moved to new.test"\nroute default hold')
    reply = send(daemon.port, "a@client.test", "b@old.test", mail.message())
    assert (reply.code, reply.enhanced) == (550, "5.7.1")
    assert "moved to new.test" in reply.text


@pytest.mark.asan
def test_discard_takes_and_drops(lab):
    daemon = lab.relayd(routes="route default discard")
    queue_id = post(daemon, "b@dest.test")
    daemon.wait_event(queue_id, "discarded")
    daemon.wait_empty()


@pytest.fixture
def held(lab):
    """(relayd, sink, id of a message that a route holds)"""
    sink = lab.sink()
    daemon = lab.relayd(
        extra=smarthost("sink", sink), routes="route to dest.test hold\nroute default via sink"
    )
    queue_id = post(daemon, "b@dest.test")
    assert daemon.recipient_state(queue_id, "b@dest.test") == "held"
    wait.never(lambda: sink.seen, "held mail was sent", 2)
    return daemon, sink, queue_id


def test_hold_keeps_until_release(held):
    daemon, sink, queue_id = held
    daemon.ctl("release", queue_id)
    sink.wait(1)
    daemon.wait_event(queue_id, "delivered")


def test_hold_outlives_its_route_and_the_engine(held):
    daemon, sink, queue_id = held
    daemon.write_config(routes="route default via sink")
    daemon.ctl("reload")
    wait.never(lambda: sink.seen, "held mail was sent", 1)
    daemon.restart()
    wait.never(lambda: sink.seen, "held mail was sent", 1)
    assert daemon.recipient_state(queue_id, "b@dest.test") == "held"
    daemon.ctl("release", queue_id)
    sink.wait(1)
    daemon.wait_event(queue_id, "delivered")


def test_what_the_admin_holds_outlives_the_route(held):
    daemon, sink, queue_id = held
    daemon.ctl("hold", queue_id)
    daemon.write_config(routes="route default via sink")
    daemon.ctl("reload")
    wait.never(lambda: sink.seen, "held mail was sent", 2)
    assert daemon.recipient_state(queue_id, "b@dest.test") == "held"


def test_the_second_smart_host_steps_in(lab):
    first, second = lab.sink(), lab.sink()
    first.stop()
    daemon = lab.relayd(
        extra=smarthost("first", first) + smarthost("second", second),
        routes="route default via first, second",
    )
    queue_id = post(daemon, "b@dest.test")
    second.wait(1)
    assert "deferred" not in daemon.event_kinds(queue_id)


def test_the_second_host_of_a_smart_host_steps_in(lab):
    first, second = lab.sink(), lab.sink()
    first.stop()
    daemon = lab.relayd(extra=smarthost("both", first, second), routes="route default via both")
    post(daemon, "b@dest.test")
    second.wait(1)


def test_a_smart_host_by_name(lab):
    server = lab.dns("out A 127.0.0.11\n")
    sink = lab.mx(11)
    daemon = lab.relayd(
        resolver=server.address,
        extra=f"smarthost out {{ host out.test:{lab.mx_port}; tls none }}",
        routes="route default via out",
    )
    post(daemon, "b@dest.test")
    sink.wait(1)


def test_overriding_a_smart_host_by_environment(lab):
    wrong, right = lab.sink(), lab.sink()
    daemon = lab.relayd(
        extra=smarthost("out", wrong),
        routes="route default via out",
        env={"RELAYD_SMARTHOST_OUT_HOST": f"127.0.0.1:{right.port}"},
    )
    post(daemon, "b@dest.test")
    right.wait(1)
    assert wrong.seen == []
