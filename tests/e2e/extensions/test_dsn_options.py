"""What a sender asks of delivery status notifications (RFC 3461), end to end."""

import smtplib

import pytest

from lab import mail, wait
from lab.client import Client
from lab.sink import Sink

WITH_DSN = (*Sink.EXTENSIONS, "DSN")


def usual(lab, **sink_options):
    """Everything for dest.test to one sink, the notices to another."""
    far, back = lab.sink(**sink_options), lab.sink(name="back.test")
    daemon = lab.relayd(
        extra=f"smarthost far {{ host 127.0.0.1:{far.port}; tls none }}\n"
        f"smarthost back {{ host 127.0.0.1:{back.port}; tls none }}",
        routes="route to client.test via back\nroute default via far",
    )
    return daemon, far, back


def post(daemon, recipients, mail_args="", content=None):
    """recipients: {address: parameters}"""
    with Client(daemon.port) as client:
        client.ehlo()
        assert "DSN" in client.extensions
        assert client.command(f"MAIL FROM:<a@client.test> {mail_args}".rstrip()).code == 250
        for address, args in recipients.items():
            reply = client.command(f"RCPT TO:<{address}> {args}".rstrip())
            assert reply.code == 250, reply
        assert client.command("DATA").code == 354
        reply = client.data(content or mail.message())
        assert reply.code == 250, reply
        return reply.queue_id


@pytest.mark.asan
def test_options_go_on_to_a_hop_with_dsn_after_a_crash(lab):
    daemon, far, back = usual(lab, extensions=WITH_DSN)
    far.on("rcpt", "450 4.2.0 later")
    queue_id = post(
        daemon,
        {
            "b@dest.test": "NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+2Bx@dest.test",
            "c@dest.test": "NOTIFY=NEVER",
            "d@dest.test": "",
        },
        "RET=HDRS ENVID=QQ+2B1",
    )
    daemon.wait_event(queue_id, "deferred")
    daemon.crash()
    far.on("rcpt", None)
    daemon.start()
    (message,) = far.wait(1)
    assert message.mail_args.split()[-2:] == ["RET=HDRS", "ENVID=QQ+2B1"]
    assert dict(zip(message.recipients, message.recipient_args)) == {
        "b@dest.test": "NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+2Bx@dest.test",
        "c@dest.test": "NOTIFY=NEVER",
        "d@dest.test": "",
    }
    daemon.wait_empty()
    assert back.messages == []  # the next hop tells


def test_python_asks(lab):
    daemon, far, back = usual(lab, extensions=WITH_DSN)
    with smtplib.SMTP("127.0.0.1", daemon.port) as client:
        client.sendmail(
            "a@client.test",
            ["b@dest.test"],
            mail.message(),
            mail_options=["ret=full", "envid=python"],
            rcpt_options=["notify=failure,delay"],
        )
    (message,) = far.wait(1)
    assert "RET=FULL ENVID=python" in message.mail_args
    assert message.recipient_args == ["NOTIFY=FAILURE,DELAY"]


def test_success_is_told_for_a_hop_without_dsn(lab):
    daemon, far, back = usual(lab)
    queue_id = post(
        daemon,
        {
            "b@dest.test": "NOTIFY=SUCCESS ORCPT=rfc822;original+2Bb@dest.test",
            "c@dest.test": "NOTIFY=FAILURE",
            "d@dest.test": "",
        },
        "ENVID=id+2B17",
    )
    (message,) = far.wait(1)
    assert "ENVID" not in message.mail_args and message.recipient_args == ["", "", ""]
    (report,) = back.wait(1)
    assert report.mail_from == "" and report.recipients == ["a@client.test"]
    bounce = mail.Bounce(report.content)
    assert len(bounce.recipients) == 1
    group = bounce.recipient("b@dest.test")
    assert group["Action"] == "relayed"
    assert group["Status"].startswith("2.")
    assert group["Original-Recipient"] == "rfc822; original+b@dest.test"
    assert bounce.per_message["Original-Envelope-Id"] == "id+17"
    assert bounce.returned.get_content_type() == "text/rfc822-headers"
    assert "passed on" in bounce.text
    daemon.wait_empty()
    assert len(back.messages) == 1
    daemon.wait_log(rf"{queue_id}: sender delivery status notification: ")


def test_failures_are_told_as_asked(lab):
    daemon, far, back = usual(lab)
    far.on("rcpt", lambda session, argument: "550 5.1.1 nobody" if b"bad" in argument else None)
    queue_id = post(
        daemon,
        {
            "bad1@dest.test": "NOTIFY=NEVER",
            "bad2@dest.test": "NOTIFY=SUCCESS",
            "bad3@dest.test": "NOTIFY=FAILURE",
            "bad4@dest.test": "",
            "good@dest.test": "NOTIFY=SUCCESS,FAILURE",
        },
    )
    reports = [mail.Bounce(m.content) for m in back.wait(2)]
    daemon.wait_empty()
    assert len(back.messages) == 2
    by_action = {r.recipients[0]["Action"]: r for r in reports}
    assert set(by_action) == {"failed", "relayed"}
    failed = by_action["failed"]
    assert len(failed.recipients) == 2
    failed.recipient("bad3@dest.test")
    failed.recipient("bad4@dest.test")
    assert len(by_action["relayed"].recipients) == 1
    by_action["relayed"].recipient("good@dest.test")
    assert daemon.event_kinds(queue_id).count("bounced") == 4


def test_all_silent(lab):
    daemon, far, back = usual(lab)
    far.on("rcpt", "550 5.1.1 nobody")
    queue_id = post(daemon, {"b@dest.test": "NOTIFY=NEVER", "c@dest.test": "NOTIFY=DELAY"})
    daemon.wait_event(queue_id, "bounced")
    daemon.wait_empty()
    assert far.messages == [] and back.messages == []


def test_delays_are_told_as_asked(lab):
    daemon, far, back = usual(lab)
    daemon.write_config(retry="first 1s; factor 1; max 1s; doubt 1s; expire 10m; warn 2s")
    daemon.restart()
    far.on("rcpt", "450 4.2.2 later")
    queue_id = post(daemon, {"b@dest.test": "NOTIFY=FAILURE", "c@dest.test": "NOTIFY=DELAY", "d@dest.test": "NOTIFY=NEVER"})
    (report,) = back.wait(1)
    bounce = mail.Bounce(report.content)
    assert len(bounce.recipients) == 1
    assert bounce.recipient("c@dest.test")["Action"] == "delayed"
    attempts = daemon.event_kinds(queue_id).count("deferred")
    wait.until(lambda: daemon.event_kinds(queue_id).count("deferred") >= attempts + 6, "two more attempts")
    assert len(back.messages) == 1
    assert daemon.event_kinds(queue_id).count("delayed") == 1


@pytest.mark.parametrize(
    "size, args, full",
    [
        (1000, "", True),
        (1000, "RET=FULL", True),
        (1000, "RET=HDRS", False),
        (80_000, "", False),
        (80_000, "RET=FULL", True),
        (200_000, "RET=FULL", False),  # over the bound
    ],
)
def test_what_comes_back(lab, size, args, full):
    daemon, far, back = usual(lab)
    far.on("rcpt", "550 5.1.1 nobody")
    content = mail.message(subject="come back", body=mail.big_body(size))
    post(daemon, {"b@dest.test": ""}, args, content)
    bounce = mail.Bounce(back.wait(1)[0].content)
    assert bounce.returned.get_content_type() == ("message/rfc822" if full else "text/rfc822-headers")
    assert "come back" in bounce.returned.as_string()
    assert (content[-200:] in back.messages[0].content) == full


def test_postfix_hears_it(lab):
    server = lab.postfix(smtpd_client_restrictions="static:HOLD")
    daemon = lab.relayd(
        extra=f"smarthost next {{ host 127.0.0.1:{server.port}; tls none }}", routes="route default via next"
    )
    post(
        daemon,
        {"b@dest.test": "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;orig+2Bb@dest.test", "c@dest.test": "NOTIFY=NEVER"},
        "RET=HDRS ENVID=to+2Bpostfix",
    )
    server.held(1)
    envelope = server.envelopes()[0]
    assert "envelope_id=to+postfix" in envelope or "envelope_id=to+2Bpostfix" in envelope, envelope
    assert "ret_flags=2" in envelope, envelope
    assert "notify_flags=6\n" in envelope and "notify_flags=1\n" in envelope, envelope
    assert "dsn_orig_rcpt=rfc822;orig+b@dest.test" in envelope, envelope


def test_postfix_tells_what_we_passed_on(lab):
    """NOTIFY=SUCCESS by way of us: the notice is Postfix's, of its own last hop."""
    far, back = lab.sink(), lab.sink(name="back.test")
    server = lab.postfix(
        transport_maps=f"inline:{{{{client.test=smtp:[127.0.0.1]:{back.port}}}}}",
        relayhost=f"[127.0.0.1]:{far.port}",
    )
    daemon = lab.relayd(
        extra=f"smarthost next {{ host 127.0.0.1:{server.port}; tls none }}", routes="route default via next"
    )
    post(daemon, {"b@dest.test": "NOTIFY=SUCCESS ORCPT=rfc822;first@dest.test"}, "ENVID=end2end")
    far.wait(1)
    (report,) = back.wait(1, timeout=30)
    bounce = mail.Bounce(report.content)
    assert bounce.per_message["Reporting-MTA"] == "dns; postfix.test"
    assert bounce.per_message["Original-Envelope-Id"] == "end2end"
    group = bounce.recipients[0]
    assert group["Action"] == "relayed"
    assert group["Original-Recipient"].replace(" ", "") == "rfc822;first@dest.test"


@pytest.mark.parametrize(
    "verb",
    [
        "MAIL FROM:<a@client.test> ENVID=a+0D+0ASubject:x",
        "MAIL FROM:<a@client.test> RET=ALL",
        "MAIL FROM:<a@client.test> ENVID=" + "x" * 101,
    ],
)
def test_nonsense_is_refused(relay, verb):
    daemon, _ = relay
    with Client(daemon.port) as client:
        client.ehlo()
        assert client.command(verb).code == 501
        assert client.command("MAIL FROM:<a@client.test>").code == 250
        assert client.command("RCPT TO:<b@dest.test> ORCPT=rfc822;a+0Ab").code == 501
        assert client.command("RCPT TO:<b@dest.test> NOTIFY=NEVER,DELAY").code == 501
