"""Bounces: one, to the right address, that people and programs can read."""

import pytest

from lab import mail, wait
from lab.client import send


def post(daemon, recipients="b@dest.test", sender="a@client.test", content=None):
    reply = send(daemon.port, sender, recipients, content or mail.message())
    assert reply.code == 250, reply
    return reply.queue_id


def refusing(sink, code="550 5.1.1 no such user here"):
    """Refuses everybody but senders who get their bounces back."""
    sink.on("rcpt", lambda session, argument: code if b"client.test" not in argument else None)


@pytest.mark.asan
@pytest.mark.parametrize("step", ["mail", "rcpt", "data", "eod"])
def test_5xx_at_any_stage_bounces_once(relay, step):
    daemon, sink = relay

    def refuse(session, argument):
        return "554 5.6.0 no thanks" if session.mail_from else None

    if step == "eod":
        sink.on(step, lambda session, message: "554 5.6.0 no thanks" if message.mail_from else None)
    elif step == "mail":
        sink.on(step, lambda session, argument: "554 5.6.0 no thanks" if b"<>" not in argument else None)
    else:
        sink.on(step, refuse)
    queue_id = post(daemon)
    (message,) = sink.wait(1)
    assert message.mail_from == ""
    assert message.recipients == ["a@client.test"]
    bounce = mail.Bounce(message.content)
    group = bounce.recipient("b@dest.test")
    assert group["Action"] == "failed"
    assert group["Status"].startswith("5.6.0")
    assert "554 5.6.0 no thanks" in group["Diagnostic-Code"]
    assert group["Diagnostic-Code"].lower().startswith("smtp;")
    daemon.wait_event(queue_id, "bounced")
    daemon.wait_empty()
    assert len(sink.messages) == 1
    daemon.wait_log(rf"{queue_id}: to=<b@dest\.test>.*dsn=5\.6\.0, status=bounced")


def test_the_form_of_a_bounce(relay):
    daemon, sink = relay
    refusing(sink)
    queue_id = post(daemon, content=mail.message(subject="the original", body="original body\r\n"))
    bounce = mail.Bounce(sink.wait(1)[0].content)
    outer = bounce.message
    assert "MAILER-DAEMON@" in outer["From"] or "mailer-daemon@" in outer["From"].lower()
    assert outer["To"] == "a@client.test" or "a@client.test" in outer["To"]
    assert outer["Auto-Submitted"] == "auto-replied"
    assert outer["Date"] and outer["Message-ID"] and outer["MIME-Version"] == "1.0"
    assert bounce.per_message["Reporting-MTA"] == "dns; mx.relay.test"
    assert bounce.per_message["Arrival-Date"]
    assert bounce.recipient("b@dest.test")["Remote-MTA"]
    assert bounce.returned.get_content_type() in ("message/rfc822", "text/rfc822-headers")
    assert "the original" in bounce.returned.as_string()
    assert "no such user here" in bounce.text
    assert "b@dest.test" in bounce.text
    assert queue_id


def test_recipients_refused_in_part(relay):
    daemon, sink = relay
    sink.on("rcpt", lambda session, argument: "550 5.1.1 unknown" if b"bad" in argument else None)
    queue_id = post(daemon, ["good1@dest.test", "bad1@dest.test", "good2@dest.test", "bad2@dest.test"])
    messages = sink.wait(2)
    (original,) = [m for m in messages if m.mail_from]
    (report,) = [m for m in messages if not m.mail_from]
    assert original.recipients == ["good1@dest.test", "good2@dest.test"]
    bounce = mail.Bounce(report.content)
    assert len(bounce.recipients) == 2  # one report for both
    bounce.recipient("bad1@dest.test")
    bounce.recipient("bad2@dest.test")
    daemon.wait_empty()
    kinds = daemon.event_kinds(queue_id)
    assert kinds.count("delivered") == 2
    assert kinds.count("bounced") == 2


def test_all_recipients_refused_sends_no_content(relay):
    daemon, sink = relay
    refusing(sink)
    post(daemon, ["x@dest.test", "y@dest.test"])
    (report,) = sink.wait(1)
    assert len(mail.Bounce(report.content).recipients) == 2
    assert len(sink.seen) == 1


def test_16_the_null_sender_gets_no_bounce(relay):
    daemon, sink = relay
    refusing(sink)
    queue_id = post(daemon, sender="")
    daemon.wait_empty()
    assert {"bounced", "dropped"} & set(daemon.event_kinds(queue_id))
    assert sink.messages == []


def test_16_a_bounce_that_bounces_is_dropped(relay):
    daemon, sink = relay
    sink.on("rcpt", "550 5.1.1 nobody is here")
    queue_id = post(daemon)
    daemon.wait_event(queue_id, "bounced")
    daemon.wait_empty()
    assert sink.seen == []


def test_expiry_bounces(lab):
    sink = lab.sink()
    sink.on("rcpt", lambda session, argument: "450 4.2.2 mailbox full" if b"b@dest" in argument else None)
    daemon = lab.relay_to(sink, retry="first 1s; factor 1; max 1s; doubt 1s; expire 3s; warn never")
    queue_id = post(daemon)
    (report,) = sink.wait(1, timeout=30)
    group = mail.Bounce(report.content).recipient("b@dest.test")
    assert group["Action"] == "failed"
    assert group["Status"][0] in "45"
    assert "mailbox full" in group["Diagnostic-Code"]
    assert "expired" in daemon.event_kinds(queue_id)
    daemon.wait_empty()


def test_a_delay_is_told_once(lab):
    sink = lab.sink()
    sink.on("rcpt", lambda session, argument: "450 4.2.2 mailbox full" if b"b@dest" in argument else None)
    daemon = lab.relay_to(sink, retry="first 1s; factor 1; max 1s; doubt 1s; expire 10m; warn 2s")
    queue_id = post(daemon)
    (report,) = sink.wait(1, timeout=30)
    bounce = mail.Bounce(report.content)
    group = bounce.recipient("b@dest.test")
    assert group["Action"] == "delayed"
    assert group["Status"].startswith("4.")
    assert group["Will-Retry-Until"]
    attempts = daemon.event_kinds(queue_id).count("deferred")
    wait.until(lambda: daemon.event_kinds(queue_id).count("deferred") >= attempts + 2, "two more attempts")
    assert len(sink.messages) == 1
    assert "delayed" in daemon.event_kinds(queue_id)


HOSTILE = [
    "550 5.1.1 \x1b[31mred\x07",
    "550-5.1.1 line one\r\n550-5.1.1 Subject: injected\r\n550 5.1.1 last",
    "550 5.1.1 " + "x" * 4000,
    b"550 5.1.1 \xff\xfe\x80 not text\r\n",
    "550 no enhanced code",
    "550 2.0.0 liar",
    "599 5.9.9 unheard of",
]


@pytest.mark.parametrize("reply", HOSTILE)
def test_21_hostile_refusals_make_a_clean_bounce(relay, reply):
    daemon, sink = relay
    refusing(sink, reply)
    post(daemon)
    (report,) = sink.wait(1)
    bounce = mail.Bounce(report.content)
    group = bounce.recipient("b@dest.test")
    assert group["Status"].startswith("5.")
    assert set(group.keys()) <= {
        "Original-Recipient", "Final-Recipient", "Action", "Status", "Remote-MTA",
        "Diagnostic-Code", "Last-Attempt-Date", "Final-Log-ID", "Will-Retry-Until",
    }  # fmt: skip
    assert "injected" not in (bounce.message["Subject"] or "")
    for line in report.content.split(b"\r\n"):
        assert b"\x1b" not in line and b"\x07" not in line
        assert len(line) <= 998


def test_a_large_message_comes_back_without_its_body(relay):
    daemon, sink = relay
    refusing(sink)
    post(daemon, content=mail.message(subject="huge", body=mail.big_body(2_000_000)))
    (report,) = sink.wait(1, timeout=30)
    assert len(report.content) < 500_000
    assert "huge" in mail.Bounce(report.content).returned.as_string()


def test_15_bounces_survive_a_restart(lab):
    sink = lab.sink()
    daemon = lab.relay_to(sink)
    sink.on("rcpt", lambda session, argument: "450 4.3.0 later" if b"client" in argument else "550 5.1.1 no")
    queue_id = post(daemon)
    daemon.wait_event(queue_id, "bounced")
    daemon.restart()
    refusing(sink)
    (report,) = sink.wait(1)
    mail.Bounce(report.content).recipient("b@dest.test")
