"""Programs nobody here wrote, on either side of relayd."""

import pytest

from lab import mail, postfix, tools, wait
from lab.client import send


def smarthost(port):
    return f"smarthost next {{ host 127.0.0.1:{port}; tls none }}"


@pytest.mark.asan
def test_swaks_sends(relay):
    daemon, sink = relay
    done = tools.swaks(daemon.port, "a@client.test", ["b@dest.test", "c@dest.test"])
    assert done.returncode == 0, done.stdout
    (message,) = sink.wait(1)
    assert message.recipients == ["b@dest.test", "c@dest.test"]
    daemon.wait_event(tools.queue_id(done.stdout), "delivered")


def test_swaks_pipelines(relay):
    daemon, sink = relay
    done = tools.swaks(daemon.port, "a@client.test", "b@dest.test", "--pipeline")
    assert done.returncode == 0, done.stdout
    sink.wait(1)


def test_curl_sends(relay, folder):
    daemon, sink = relay
    content = mail.message(body=mail.big_body(50_000))
    (folder / "m.eml").write_bytes(content)
    done = tools.curl(daemon.port, "a@client.test", ["b@dest.test", "c@dest.test"], folder / "m.eml")
    assert done.returncode == 0, done.stderr
    (message,) = sink.wait(1)
    assert mail.after_trace(message.content) == content


def test_postfix_as_next_hop(lab):
    server = lab.postfix(smtpd_client_restrictions="static:HOLD")
    daemon = lab.relayd(extra=smarthost(server.port), routes="route default via next")
    content = mail.message(body=mail.big_body(30_000))
    assert send(daemon.port, "a@client.test", ["b@dest.test", "c@dest.test"], content).code == 250
    (held,) = server.held(1)
    assert mail.after_trace(held.replace(b"\n", b"\r\n")) == content
    envelope = server.envelopes()[0]
    assert "sender: a@client.test" in envelope
    assert "recipient: b@dest.test" in envelope and "recipient: c@dest.test" in envelope


def test_postfix_refusing_a_recipient(lab):
    sink = lab.sink()
    server = lab.postfix(
        smtpd_client_restrictions="static:HOLD",
        smtpd_recipient_restrictions="check_recipient_access inline:{{bad@dest.test=REJECT}}, permit_mynetworks, reject",
    )
    daemon = lab.relayd(
        extra=smarthost(server.port) + f"\nsmarthost back {{ host 127.0.0.1:{sink.port}; tls none }}",
        routes="route to client.test via back\nroute default via next",
    )
    assert send(daemon.port, "a@client.test", ["good@dest.test", "bad@dest.test"], mail.message()).code == 250
    server.held(1)
    (report,) = sink.wait(1)
    assert mail.Bounce(report.content).recipient("bad@dest.test")["Action"] == "failed"


def test_postfix_as_client(lab):
    sink = lab.sink()
    daemon = lab.relay_to(sink)
    server = lab.postfix(relayhost=f"[127.0.0.1]:{daemon.port}")
    content = mail.message(body=mail.big_body(30_000))
    assert send(server.port, "a@client.test", ["b@dest.test", "c@other.test"], content).code == 250
    wait.until(lambda: sum(len(m.recipients) for m in sink.messages) == 2, "both recipients", 20)
    for message in sink.messages:
        assert mail.after_trace(message.content) == content


def test_postfix_as_client_hears_a_refusal(lab):
    daemon = lab.relayd(routes='route to bad.test reject "not here"\nroute default hold')
    server = lab.postfix(relayhost=f"[127.0.0.1]:{daemon.port}")
    assert send(server.port, "a@client.test", "b@bad.test", mail.message()).code == 250
    # Postfix makes a bounce of it and brings that to us as well.
    wait.until(lambda: daemon.queue(), lambda: f"the bounce\n{server.log}", 20)
    (queue_id,) = daemon.queue_ids()
    assert "a@client.test" in daemon.recipients(queue_id)


def test_two_instances_in_a_chain(lab):
    sink = lab.sink()
    second = lab.relay_to(sink, hostname="second.relay.test")
    first = lab.relayd(extra=smarthost(second.port), routes="route default via next")
    content = mail.message(body=mail.big_body(700_000))
    assert send(first.port, "a@client.test", ["b@dest.test", "c@dest.test"], content).code == 250
    (message,) = sink.wait(1)
    assert mail.after_trace(message.content) == content
    assert message.header.count(b"\r\nReceived:") + message.header.startswith(b"Received:") == 2


def test_a_load_through_a_chain(lab):
    sink = lab.sink()
    second = lab.relay_to(sink, hostname="second.relay.test")
    first = lab.relayd(extra=smarthost(second.port), routes="route default via next")
    done = postfix.run_smtp_source(first.port, 300, sessions=20)
    assert done.returncode == 0, done.stderr
    assert len(sink.wait(300, timeout=60)) == 300
    first.wait_empty()
    second.wait_empty()


def test_our_bounces_are_accepted_by_postfix(lab):
    server = lab.postfix(smtpd_client_restrictions="static:HOLD")
    sink = lab.sink()
    sink.on("rcpt", "550 5.1.1 nobody")
    daemon = lab.relayd(
        extra=smarthost(server.port) + f"\nsmarthost far {{ host 127.0.0.1:{sink.port}; tls none }}",
        routes="route to dest.test via far\nroute default via next",
    )
    assert send(daemon.port, "a@client.test", "b@dest.test", mail.message()).code == 250
    (held,) = server.held(1)
    mail.Bounce(held.replace(b"\n", b"\r\n"))
