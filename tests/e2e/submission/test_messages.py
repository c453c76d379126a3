"""What a user may send from, and what becomes of the message."""

import email
import email.policy
import re

import pytest

from lab import mail, submit
from lab.submit import USER, Submitter


def sent(sink, n=1):
    message = sink.wait(n)[n - 1]
    return message, email.message_from_bytes(message.content, policy=email.policy.default)


def submit_one(daemon, content, sender=USER, recipients="b@dest.test"):
    with Submitter(daemon.port) as client:
        client.ehlo()
        assert client.login().code == 235
        return client.transaction(sender, recipients, content)


def test_his_own_address(submission):
    daemon, sink = submission()
    content = mail.message(sender=USER)
    reply = submit_one(daemon, content, "boss@shop.test")
    assert (reply.code, reply.enhanced) == (553, "5.7.1")
    assert f"not owned by user {USER}" in reply.text
    assert submit_one(daemon, content, "WEB@Shop.Test").code == 250
    assert submit_one(daemon, content, "").code == 250
    sink.wait(2)
    assert daemon.wait_log(r"NOQUEUE: reject: MAIL from .*553 5\.7\.1")


def test_patterns(submission):
    daemon, sink = submission("tls none", "--senders", "own,shop.test")
    content = mail.message(sender=USER)
    assert submit_one(daemon, content, "boss@shop.test").code == 250
    assert submit_one(daemon, content, "boss@other.test").code == 553


def test_any(submission):
    daemon, sink = submission("tls none; header_from owned", "--senders", "any")
    assert submit_one(daemon, mail.message(sender="boss@other.test"), "boss@other.test").code == 250


def test_header_from(submission):
    daemon, sink = submission("tls none; header_from owned")
    assert submit_one(daemon, mail.message(sender=f"The Shop <{USER}>")).code == 250
    for sender in "boss@shop.test", f"{USER}, boss@shop.test", f'"{USER}" <boss@shop.test>':
        reply = submit_one(daemon, mail.message(sender=sender))
        assert (reply.code, reply.enhanced) == (553, "5.7.1"), sender
    assert len(sink.wait(1)) == 1


@pytest.mark.asan
def test_completed(submission):
    daemon, sink = submission()
    body = b"Bcc: of the body\r\n" + mail.big_body(700_000) + b"\xff\r\n"
    content = b"Subject: =?utf-8?q?hi?=\r\nBcc: c@dest.test,\r\n d@dest.test\r\nX-Odd: \xe4\r\n folded\r\n\r\n" + body
    reply = submit_one(daemon, content)
    assert reply.code == 250
    message, read = sent(sink)
    assert message.body == body
    assert read["From"] == USER
    assert re.fullmatch(rf"<{reply.queue_id}@mx.relay.test>", read["Message-ID"], re.IGNORECASE)
    assert read["Date"].datetime.tzinfo is not None
    assert read["Bcc"] is None and b"X-Odd: \xe4\r\n folded\r\n" in message.header
    for name in "From", "Date", "Message-ID", "Subject":
        assert len(read.get_all(name)) == 1


def test_complete_already(submission):
    daemon, sink = submission()
    content = mail.message(sender=USER, body=mail.big_body(10_000))
    assert submit_one(daemon, content).code == 250
    assert mail.after_trace(sink.wait(1)[0].content) == content


@pytest.mark.parametrize(
    "content",
    [b"", b"\r\n", b"no header at all\r\nBcc: x\r\n", b" begins folded\r\n\r\nx\r\n", b"Subject: only a header\r\n", b"\x80: x\r\n\r\ny\r\n"],
)
def test_odd_headers(submission, content):
    daemon, sink = submission()
    assert submit_one(daemon, content).code == 250
    message, read = sent(sink)
    assert read["From"] == USER and read["Date"] and read["Message-ID"]
    if not content.startswith((b"Subject", b"\r\n")) and content:
        assert message.content.endswith(b"\r\n\r\n" + content)


def test_21_no_new_header(submission):
    """Nothing of an envelope or a login becomes a field of its own."""
    daemon, sink = submission("tls none", "--senders", "any")
    with Submitter(daemon.port) as client:
        client.ehlo("helo;(comment)Bcc:")
        assert client.login().code == 235
        for address in '"a\\\r\nBcc: x"@shop.test', '"a\x00b"@shop.test', "a@b\r\nRCPT TO:<x@y.test>":
            client.send(f"MAIL FROM:<{address}>\r\n")
            assert client.reply().code >= 500
            for _ in range(address.count("\n")):
                assert client.reply().code >= 500
        assert client.transaction('"odd\\"; Bcc: x"@shop.test', "b@dest.test", "Subject: x\r\n\r\ny\r\n").code == 250
    _, read = sent(sink)
    assert read["Bcc"] is None
    assert sorted(set(read.keys())) == ["Date", "From", "Message-ID", "Received", "Subject"]


def test_rewritten(submission):
    daemon, sink = submission(f"tls none; sender_rewrite root@ {USER}", extra=f"sender_rewrite .internal {USER}")
    content = b"From: root@web1.internal (Cron Daemon)\r\nSubject: Cron\r\n\r\nx\r\n"
    assert submit_one(daemon, content, "root@web1.internal").code == 250
    message, read = sent(sink)
    assert message.mail_from == USER
    assert f"From: {USER} (Cron Daemon)\r\n".encode() in message.content
    assert submit_one(daemon, content, "www-data@web1.internal").code == 250
    message, _ = sent(sink, 2)
    assert message.mail_from == USER
    assert submit_one(daemon, content, "root2@web1.example").code == 553


def test_rewritten_for_programs_of_this_machine(lab):
    """Mail of cron through the port for local programs, without a login."""
    sink = lab.sink()
    daemon = lab.relayd(
        trusted="127.0.0.1/32",
        extra=f"domain dest.test {{ relay }}\nsender_rewrite root@ {USER}\nsmarthost sink {{ host 127.0.0.1:{sink.port}; tls none }}",
        routes="route default via sink",
    )
    content = b"From: root\r\nSubject: Cron\r\n\r\nx\r\n"
    with Submitter(daemon.port) as client:
        client.ehlo()
        assert client.transaction("root@web1.internal", "b@else.test", content).code == 250
    message, read = sent(sink)
    assert message.mail_from == USER and read["From"] == USER
    with Submitter(daemon.port, source="127.0.0.2") as client:
        client.ehlo()
        assert client.transaction("root@web1.internal", "b@dest.test", content).code == 250
    message, read = sent(sink, 2)
    assert message.mail_from == "root@web1.internal" and mail.after_trace(message.content) == content


@pytest.mark.parametrize("show", [True, False])
def test_client_address(submission, show):
    daemon, sink = submission("tls none; client_address " + ("show" if show else "hide"))
    assert submit_one(daemon, mail.message(sender=USER)).code == 250
    message, _ = sent(sink)
    assert (b"127.0.0.1" in message.header) == show
    assert (b"client.test" in message.header.partition(b"\r\nFrom:")[0]) == show
    daemon.wait_log(r"client=unknown\[127\.0\.0\.1\], sasl_method")


def test_php_mail(submission, folder):
    """PHP's mail() calls sendmail -t -i: here msmtp, which reads the recipients."""
    daemon, sink = submission()
    content = b"To: b@dest.test\nSubject: order 17\nX-PHP-Originating-Script: 33:shop.php\nBcc: c@dest.test\n\nThank you.\n"
    done = submit.msmtp(folder, daemon.port, USER, None, content, tls=False)
    assert done.returncode == 0, done.stderr
    message, read = sent(sink)
    assert sorted(message.recipients) == ["b@dest.test", "c@dest.test"]
    assert read["From"].addresses[0].addr_spec == USER and read["Date"] and read["Message-ID"] and read["Bcc"] is None


def test_limits_by_the_hour(submission):
    daemon, sink = submission("tls none", "--messages-per-hour", "3", "--recipients-per-hour", "4")
    content = mail.message(sender=USER)
    assert submit_one(daemon, content).code == 250
    assert submit_one(daemon, content, recipients=["b@dest.test", "c@dest.test"]).code == 250
    reply = submit_one(daemon, content, recipients=["b@dest.test", "c@dest.test"])
    assert (reply.code, reply.enhanced) == (450, "4.7.1")
    assert submit_one(daemon, content).code == 250
    reply = submit_one(daemon, content)
    assert (reply.code, reply.enhanced) == (450, "4.7.1")
    assert len(sink.wait(3)) == 3
