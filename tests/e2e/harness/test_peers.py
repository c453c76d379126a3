"""The peers alone, without relayd: what the other tests rely on."""

import dns.rcode
import pytest

from lab import mail, postfix, tools, wait
from lab.client import Client, send
from lab.sink import CLOSE, HANG, RESET, Slow, Then


def test_the_sink_keeps_every_byte(bench):
    sink = bench.sink()
    content = mail.message(body=b"..two dots\r\n.\r\r\n.one\r\n".replace(b"\r\r", b"\r") + b"\x00\xff\r\n")
    assert send(sink.port, "a@b.test", ["c@d.test", "e@d.test"], content).code == 250
    (message,) = sink.wait(1)
    assert message.content == content
    assert (message.mail_from, message.recipients) == ("a@b.test", ["c@d.test", "e@d.test"])
    assert not sink.violations


@pytest.mark.parametrize("bad", [b"a\nb", b"a\rb", b"\n.\n", b"\r.\r", b"x\n.\r\n", b"x\r\n.\ny"])
def test_the_sink_reports_bare_line_ends(bench, bad):
    sink = bench.sink()
    assert send(sink.port, "a@b.test", "c@d.test", mail.message(body=bad + b"\r\n")).code == 250
    assert len(sink.wait(1)) == 1
    assert len(sink.violations) == 1
    sink.violations.clear()


def test_the_sink_takes_a_pipelined_burst(bench):
    sink = bench.sink()
    with Client(sink.port) as client:
        client.send(
            "EHLO c\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\nhi\r\n.\r\n"
            "MAIL FROM:<>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n.\r\nQUIT\r\n"
        )
        assert [client.reply().code for _ in range(9)] == [250, 250, 250, 354, 250, 250, 250, 354, 250]
    assert [m.content for m in sink.messages] == [b"hi\r\n", b""]


def test_the_sink_takes_chunks(bench):
    sink = bench.sink()
    with Client(sink.port) as client:
        client.ehlo()
        client.command("MAIL FROM:<a@b.test>")
        client.command("RCPT TO:<c@d.test>")
        assert client.command(b"BDAT 4\r\nab\r\n").code == 250
        assert client.command(b"BDAT 3 LAST\r\n.\r\n").code == 250
    assert sink.messages[0].content == b"ab\r\n.\r\n"


def test_a_script_answers_once_or_always(bench):
    sink = bench.sink()
    sink.on("eod", ["451 4.3.0 later", None])
    sink.on("rcpt", lambda session, argument: "550 5.1.1 who?" if b"bad" in argument else None)
    with Client(sink.port) as client:
        client.ehlo()
        assert client.transaction("a@b.test", "bad@d.test", b"x").code == 550
        client.command("RSET")
        assert client.transaction("a@b.test", "good@d.test", b"x").code == 451
        assert client.transaction("a@b.test", "good@d.test", b"x").code == 250
    assert (len(sink.seen), len(sink.messages)) == (2, 1)


@pytest.mark.parametrize("step", ["connect", "ehlo", "mail", "rcpt", "data", "content", "eod"])
@pytest.mark.parametrize("action", [CLOSE, RESET, Then("421 4.3.2 closing", CLOSE)])
def test_the_sink_leaves_at_any_stage(bench, step, action):
    sink = bench.sink()
    sink.on(step, action)
    with pytest.raises((EOFError, ConnectionError, AssertionError)):
        with Client(sink.port) as client:
            client.ehlo()
            assert client.transaction("a@b.test", "c@d.test", b"x\r\n").code == 250
    assert sink.messages == []


def test_the_sink_hangs_and_is_slow(bench):
    sink = bench.sink()
    sink.on("rcpt", Slow(0.1, "250 2.1.5 at last"))
    sink.on("eod", HANG)
    with Client(sink.port, timeout=0.5) as client:
        client.ehlo()
        with pytest.raises(TimeoutError):
            client.transaction("a@b.test", "c@d.test", b"x")
        assert len(sink.seen) == 1
        assert sink.hanging == [1]


def test_the_sink_refuses_connections_while_stopped(bench):
    sink = bench.sink()
    sink.stop()
    with pytest.raises(ConnectionRefusedError):
        Client(sink.port)
    sink.start()
    Client(sink.port).close()


RECORDS = """
two   MX 10 mx1
      MX 20 mx2
mx1   A 127.0.0.11
mx2   A 127.0.0.12
null  MX 0 .
alias CNAME two
"""


def test_a_real_dns_server(bench):
    server = bench.dns(RECORDS)
    assert sorted(r.to_text() for r in server.query("two.test", "MX").answer[0]) == [
        "10 mx1.test.",
        "20 mx2.test.",
    ]
    assert server.query("null.test", "MX").answer[0][0].exchange.to_text() == "."
    assert len(server.query("alias.test", "MX").answer) == 2
    assert server.query("nobody.test", "MX").rcode() == dns.rcode.NXDOMAIN
    assert server.query("x.broken.test", "MX").rcode() == dns.rcode.SERVFAIL
    server.update(RECORDS + "new A 127.0.0.1\n")
    assert server.query("new.test", "A").answer
    server.pause()
    with pytest.raises(Exception, match="timed out"):
        server.query("new.test", "A", timeout=0.3)
    server.resume()
    assert server.query("new.test", "A").answer


def test_a_dns_server_that_lies(bench):
    import dns.message
    import dns.query

    fake = bench.fake_dns()
    fake.answer("dest.test", "MX", "10 mx.dest.test.")
    fake.rcode("sick.test", "MX", "SERVFAIL")
    fake.silence("quiet.test", "MX")

    def ask(name, how=dns.query.udp, timeout=2):
        return how(dns.message.make_query(name, "MX"), "127.0.0.1", port=fake.port, timeout=timeout)

    assert ask("dest.test").answer[0][0].preference == 10
    assert ask("dest.test", dns.query.tcp).answer
    assert ask("sick.test").rcode() == dns.rcode.SERVFAIL
    assert ask("other.test").rcode() == dns.rcode.NXDOMAIN
    with pytest.raises(Exception, match="timed out"):
        ask("quiet.test", timeout=0.3)
    assert ("quiet.test", "MX", False) in fake.asked


def test_swaks_and_curl_reach_a_sink(bench):
    sink = bench.sink()
    done = tools.swaks(sink.port, "s@b.test", "c@d.test")
    assert done.returncode == 0, done.stdout
    file = bench.folder / "m.eml"
    file.write_bytes(mail.message(subject="by curl"))
    done = tools.curl(sink.port, "s@b.test", ["c@d.test", "e@d.test"], file)
    assert done.returncode == 0, done.stderr
    first, second = sink.wait(2)
    assert first.helo == "swaks.test"
    assert second.recipients == ["c@d.test", "e@d.test"]
    assert second.content == mail.message(subject="by curl")


def test_smtp_source_loads_a_sink(bench):
    sink = bench.sink()
    done = postfix.run_smtp_source(sink.port, 40, "-d", sessions=4, size=1000)
    assert done.returncode == 0, done.stderr
    assert len(sink.wait(40)) == 40
    assert sink.connections <= 8


def test_smtp_sink_stores_messages(bench):
    server = bench.smtp_sink()
    assert send(server.port, "a@b.test", "c@d.test", mail.message(subject="stored")).code == 250
    (file,) = server.wait(1)
    assert b"Subject: stored" in file.read_bytes()


def test_postfix_holds_what_it_is_sent(bench):
    server = bench.postfix(smtpd_client_restrictions="static:HOLD")
    assert send(server.port, "a@b.test", "c@d.test", mail.message(subject="held")).code == 250
    (content,) = server.held(1)
    assert b"Subject: held" in content
    assert "recipient: c@d.test" in server.envelopes()[0]


def test_postfix_relays_to_a_sink(bench):
    sink = bench.sink()
    server = bench.postfix(relayhost=f"[127.0.0.1]:{sink.port}")
    assert send(server.port, "a@b.test", "c@d.test", mail.message(subject="relayed")).code == 250
    (message,) = sink.wait(1)
    assert (message.mail_from, message.recipients) == ("a@b.test", ["c@d.test"])
    assert mail.after_trace(message.content) == mail.message(subject="relayed")


def test_deadlines_say_what_they_waited_for():
    with pytest.raises(wait.Late, match="rain"):
        wait.until(lambda: False, "rain", timeout=0.05)
