"""relayctl: the admin's hands on the queue."""

import base64
import json
import os
import signal

import pytest

from lab import mail, wait
from lab.client import Client, send

EX_USAGE, EX_DATAERR, EX_NOINPUT, EX_UNAVAILABLE = 64, 65, 66, 69
EX_TEMPFAIL, EX_NOPERM, EX_CONFIG = 75, 77, 78


def post(daemon, recipients="b@dest.test", sender="a@client.test", **fields):
    reply = send(daemon.port, sender, recipients, mail.message(**fields))
    assert reply.code == 250, reply
    return reply.queue_id


@pytest.fixture
def held(lab):
    """A relayd that holds everything until told otherwise, and the sink it would send to."""
    sink = lab.sink()
    daemon = lab.relayd(
        extra=f"smarthost sink {{ host 127.0.0.1:{sink.port}; tls none }}",
        routes="route to later.test hold\nroute to slow.test via sink\nroute default hold",
    )
    return daemon, sink


@pytest.mark.asan
def test_status(held):
    daemon, _ = held
    post(daemon)
    assert daemon.ctl("status").stdout.strip()
    assert isinstance(daemon.json("status"), dict)


def test_queue_shows_what_waits(held):
    daemon, _ = held
    ids = [post(daemon, f"r{n}@d{n % 2}.test", sender=f"s{n}@client.test") for n in range(6)]
    assert sorted(daemon.queue_ids()) == sorted(ids)
    table = daemon.ctl("queue").stdout
    for queue_id in ids:
        assert queue_id in table


@pytest.mark.parametrize(
    "filters, expected",
    [
        (["--sender", "s1@client.test"], [1]),
        (["--recipient", "r2@d0.test"], [2]),
        (["--domain", "d1.test"], [1, 3, 5]),
        (["--state", "held"], [0, 1, 2, 3, 4, 5]),
        (["--state", "queued"], []),
        (["--domain", "none.test"], []),
        (["--age", "1h"], []),
    ],
)
def test_queue_filters(held, filters, expected):
    daemon, _ = held
    ids = [post(daemon, f"r{n}@d{n % 2}.test", sender=f"s{n}@client.test") for n in range(6)]
    assert sorted(daemon.queue_ids(*filters)) == sorted(ids[n] for n in expected)


def test_queue_is_paged(held):
    daemon, _ = held
    ids = [post(daemon, f"r{n}@dest.test") for n in range(25)]
    page = daemon.json("queue", "--limit", "10")
    assert len(page["messages"]) == 10
    assert sorted(daemon.queue_ids("--limit", "100")) == sorted(ids)


def test_a_long_queue_is_listed_whole_and_in_order(held):
    daemon, _ = held
    with Client(daemon.port) as client:
        client.ehlo()
        replies = [client.transaction("a@client.test", ["b@dest.test"], mail.message()) for _ in range(150)]
    ids = [reply.queue_id for reply in replies]
    rows = daemon.ctl("queue").stdout.splitlines()[1:]
    assert [row.split()[0] for row in rows] == ids == daemon.queue_ids()
    assert ids[:120] == daemon.queue_ids("--limit", "120")


def test_show_tells_envelope_and_recipients(held):
    daemon, _ = held
    queue_id = post(daemon, ["x@dest.test", "y@later.test"])
    shown = daemon.json("show", queue_id)
    assert shown["id"] == queue_id
    assert shown["sender"] == "a@client.test"
    assert {r["address"]: r["state"] for r in shown["recipients"]} == {
        "x@dest.test": "held",
        "y@later.test": "held",
    }
    text = daemon.ctl("show", queue_id).stdout
    assert "x@dest.test" in text and "y@later.test" in text


def test_trace_by_id_address_and_message_id(relay):
    daemon, sink = relay
    queue_id = post(daemon, "traced@dest.test", subject="trace me")
    sink.wait(1)
    daemon.wait_event(queue_id, "delivered")
    message_id = [
        line.split(b": ", 1)[1].strip().decode()
        for line in sink.messages[0].header.split(b"\r\n")
        if line.lower().startswith(b"message-id:")
    ][0]
    for what in (queue_id, "traced@dest.test", message_id, message_id.strip("<>")):
        kinds = daemon.event_kinds(what)
        assert kinds == ["received", "delivered"], what
    text = daemon.ctl("trace", queue_id).stdout
    assert "traced@dest.test" in text and "delivered" in text


class TestCat:
    """The content byte by byte, out of the records and out of a file of its own."""

    BODIES = {
        "short": b"Hello.\r\n..dots\r\n.\r\n",
        "latin": "Gr\u00fc\u00dfe \u2603 \u0000\r\n".encode(),
        "records": mail.big_body(90_000),
        "file": mail.big_body(3_000_000),
    }

    def posted(self, daemon, name):
        content = mail.message(subject=name, body=self.BODIES[name].replace(b"\0", b""))
        reply = send(daemon.port, "a@client.test", "b@dest.test", content)
        assert reply.code == 250, reply
        return reply.queue_id, content

    @pytest.mark.asan
    @pytest.mark.parametrize("name", BODIES)
    def test_every_byte(self, held, name):
        daemon, _ = held
        queue_id, content = self.posted(daemon, name)
        running, code = daemon.cat(queue_id)
        assert code == 0 and mail.after_trace(running) == content
        assert running.startswith(b"Received: ") and queue_id.encode() in running
        document = daemon.json("cat", queue_id)
        assert document["id"] == queue_id and base64.b64decode(document["base64"]) == running
        daemon.stop()
        down, code = daemon.cat(queue_id)
        assert code == 0 and down == running

    def test_gone_or_no_id(self, held):
        daemon, _ = held
        queue_id, _ = self.posted(daemon, "short")
        daemon.ctl("delete", "--yes", queue_id)
        done = daemon.ctl("cat", queue_id, check=False)
        assert (done.returncode, done.stdout) == (EX_NOINPUT, "")
        assert f"relayctl trace {queue_id}" in done.stderr
        done = daemon.ctl("cat", queue_id, "--json", check=False)
        assert (done.returncode, done.stdout) == (EX_NOINPUT, "")
        assert daemon.ctl("cat", "nonsense", check=False).returncode == EX_DATAERR

    @pytest.mark.parametrize("down", [False, True])
    @pytest.mark.parametrize("cut", [False, True])
    def test_12_a_damaged_file_is_not_passed_off_as_the_message(self, held, down, cut):
        daemon, _ = held
        queue_id, content = self.posted(daemon, "file")
        (file,) = [path for path in daemon.directory.rglob(f"body/*/{queue_id}") if path.is_file()]
        with file.open("r+b") as body:
            if cut:
                body.truncate(len(content) // 2)
            else:
                body.seek(1000)
                body.write(b"\0")
        if down:
            daemon.stop()
        _, code = daemon.cat(queue_id)
        assert code != 0
        done = daemon.ctl("cat", queue_id, "--json", check=False)
        assert done.returncode == code and "damaged" in done.stderr
        with pytest.raises(ValueError):
            json.loads(done.stdout)


def test_release_grants_an_attempt(held):
    daemon, sink = held
    daemon.write_config(routes="route default via sink")
    queue_id = post(daemon)  # held by the configuration still in force
    daemon.ctl("reload")
    wait.never(lambda: sink.seen, "held mail was sent", 1)
    daemon.ctl("release", queue_id)
    sink.wait(1)
    daemon.wait_event(queue_id, "delivered")
    assert "released" in daemon.event_kinds(queue_id)


def test_hold_stops_retries_and_retry_hurries(lab):
    sink = lab.sink()
    sink.on("rcpt", ["450 4.2.0 later"])
    daemon = lab.relay_to(sink, retry="first 10m; factor 2; max 1h; doubt 10m; expire 5d; warn 4h")
    queue_id = post(daemon)
    daemon.wait_event(queue_id, "deferred")
    daemon.ctl("hold", queue_id)
    assert daemon.recipient_state(queue_id, "b@dest.test") == "held"
    daemon.ctl("release", queue_id)
    sink.wait(1)
    other = post(daemon, "c@dest.test")
    daemon.wait_event(other, "delivered")


def test_retry_makes_an_attempt_now(lab):
    sink = lab.sink()
    sink.on("rcpt", ["450 4.2.0 later"])
    daemon = lab.relay_to(sink, retry="first 10m; factor 2; max 1h; doubt 10m; expire 5d; warn 4h")
    queue_id = post(daemon)
    daemon.wait_event(queue_id, "deferred")
    daemon.ctl("retry", queue_id)
    sink.wait(1)
    assert "retried" in daemon.event_kinds(queue_id)


def test_delete_leaves_only_the_trace(held):
    daemon, sink = held
    queue_id = post(daemon)
    daemon.ctl("delete", queue_id)
    daemon.wait_empty()
    daemon.wait_event(queue_id, "deleted")
    assert sink.seen == []


def test_bounce_tells_the_sender(held):
    daemon, sink = held
    daemon.write_config(routes="route to client.test via sink\nroute default hold")
    daemon.ctl("reload")
    queue_id = post(daemon)
    daemon.ctl("bounce", queue_id)
    (report,) = sink.wait(1)
    mail.Bounce(report.content).recipient("b@dest.test")
    daemon.wait_event(queue_id, "bounced")


@pytest.mark.parametrize(
    "args, code",
    [
        (["nonsense"], EX_USAGE),
        ([], EX_USAGE),
        (["show"], EX_USAGE),
        (["queue", "--nonsense"], EX_USAGE),
        (["show", "not-an-id"], EX_USAGE),
        (["show", "0123456789abcdef"], EX_NOINPUT),
        (["retry", "0123456789abcdef"], EX_NOINPUT),
        (["delete", "0123456789abcdef"], EX_NOINPUT),
        (["check", "/nonexistent/relayd.conf"], EX_NOINPUT),
    ],
)
def test_exit_codes(held, args, code):
    daemon, _ = held
    done = daemon.ctl(*args, check=False)
    # A name that is no id, and a file that can't be read, have two fitting codes each.
    fitting = {EX_USAGE: {EX_USAGE, EX_DATAERR}, EX_NOINPUT: {EX_NOINPUT, EX_UNAVAILABLE, EX_CONFIG}}
    assert done.returncode in fitting[code] and done.stderr.strip(), (done.returncode, done.stderr)


def test_check_reads_a_file(held):
    daemon, _ = held
    good = daemon.directory / "good.conf"
    good.write_text("hostname a.example\nlisten 127.0.0.1:2525\n")
    assert daemon.ctl("check", good).returncode == 0
    bad = daemon.directory / "bad.conf"
    bad.write_text("hostname a.example\n  lisen 127.0.0.1:2525\n")
    done = daemon.ctl("check", bad, check=False)
    assert done.returncode == EX_CONFIG
    assert "bad.conf:2:3:" in done.stderr
    assert "listen" in done.stderr and "^" in done.stderr


def test_reload_switches_or_says_why_not(relay):
    daemon, sink = relay
    good = daemon.routes
    daemon.write_config(routes="route default hold")
    daemon.ctl("reload")
    queue_id = post(daemon)
    assert daemon.recipient_state(queue_id, "b@dest.test") == "held"
    daemon.write_config(routes=good + "\nnonsense here")
    done = daemon.ctl("reload", check=False)
    assert done.returncode == EX_CONFIG
    assert "nonsense" in done.stderr
    # The one before still rules.
    assert daemon.recipient_state(post(daemon), "b@dest.test") == "held"
    daemon.write_config(routes=good)
    daemon.ctl("reload")
    post(daemon)
    sink.wait(1)


def test_stop_stops(relay):
    daemon, _ = relay
    process = daemon.process
    daemon.ctl("stop")
    wait.until(lambda: not process.running(), "relayd ends", 30)
    assert process.popen.returncode == 0
    daemon.process = None


def test_json_is_one_document(held):
    daemon, _ = held
    post(daemon)
    for args in (["status"], ["queue"]):
        json.loads(daemon.ctl(*args, "--json").stdout)


class TestDown:
    """Without a daemon: what can be read is read, the rest says so."""

    def test_61_reading_works(self, held):
        daemon, _ = held
        queue_id = post(daemon)
        before = daemon.json("show", queue_id)
        daemon.stop()
        assert daemon.queue_ids() == [queue_id]
        after = daemon.json("show", queue_id)
        assert (after["id"], after["sender"]) == (before["id"], before["sender"])
        assert daemon.event_kinds(queue_id)[0] == "received"
        assert daemon.ctl("status").stdout.strip()
        daemon.start()
        assert daemon.queue_ids() == [queue_id]

    @pytest.mark.parametrize("command", ["retry", "hold", "release", "delete", "bounce"])
    def test_changing_does_not(self, held, command):
        daemon, _ = held
        queue_id = post(daemon)
        daemon.stop()
        done = daemon.ctl(command, queue_id, check=False)
        assert done.returncode in (EX_UNAVAILABLE, EX_TEMPFAIL)
        assert done.stderr.strip()
        assert daemon.queue_ids() == [queue_id]

    @pytest.mark.parametrize("command", ["reload", "stop"])
    def test_nobody_to_tell(self, held, command):
        daemon, _ = held
        daemon.stop()
        assert daemon.ctl(command, check=False).returncode in (EX_UNAVAILABLE, EX_TEMPFAIL)

    def test_61_a_hung_engine_is_named_within_seconds(self, held):
        daemon, _ = held
        engine = daemon.engine()
        assert engine, daemon.children()
        os.kill(engine, signal.SIGSTOP)
        try:
            done = daemon.ctl("status", check=False, timeout=15)
            assert done.returncode == EX_TEMPFAIL
        finally:
            os.kill(engine, signal.SIGCONT)
