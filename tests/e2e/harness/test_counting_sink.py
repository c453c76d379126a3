"""bench/sink: its counts are the benchmark, its record is the kill test."""

import json
import subprocess
import zlib

import pytest

from lab import BUILD, mail, postfix
from lab.client import Client, send

SINK = BUILD / "bench" / "sink"


class Counting:
    def __init__(self, folder):
        self.record = folder / "record"
        self.popen = subprocess.Popen(
            [SINK, "--record", self.record, "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.port = int(self.popen.stdout.readline().split()[1])

    def counts(self):
        self.popen.stdin.write("\n")
        self.popen.stdin.flush()
        return json.loads(self.popen.stdout.readline())

    def lines(self):
        return self.record.read_text().splitlines()


@pytest.fixture
def sink(folder):
    if not SINK.exists():
        pytest.skip(f"not built: {SINK}")
    counting = Counting(folder)
    yield counting
    counting.popen.stdin.close()
    assert counting.popen.wait(10) == 0
    counting.popen.stdout.close()


def marked(token, body):
    return mail.message(X_Token=token, X_Crc32=f"{zlib.crc32(body):08x}", body=body)


def test_counts(sink):
    content = mail.message(body=b"x\r\n.\r\n..\r\n")
    send(sink.port, "a@b.test", ["c@d.test", "e@d.test"], content)
    send(sink.port, "a@b.test", "c@d.test", b"\r\n")
    counts = sink.counts()
    assert (counts["connections"], counts["messages"], counts["recipients"]) == (2, 2, 3)
    assert counts["bytes"] == len(content) + 2
    assert counts["bad"] == 0


@pytest.mark.parametrize("slowly", [False, True])
@pytest.mark.parametrize(
    "body", [b"", b"\r\n", b".\r\n", b"plain\r\n.dot\r\n..\r\n\r\n", b"nul \x00 \xff\r\n"]
)
def test_whole_messages(sink, body, slowly):
    content = marked("tok", body)
    with Client(sink.port) as client:
        client.ehlo()
        for line in ("MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>", "DATA"):
            client.command(line)
        wire = content.replace(b"\r\n.", b"\r\n..") + b".\r\n"
        client.send_slowly(wire) if slowly else client.send(wire)
        assert client.reply().code == 250
        assert client.command("NOOP").code == 250
    assert sink.lines() == ["tok whole"]


def test_a_changed_body_is_torn(sink):
    content = marked("tok", b"hello\r\n").replace(b"hello", b"hallo")
    send(sink.port, "a@b.test", "c@d.test", content)
    send(sink.port, "a@b.test", "c@d.test", marked("cut", mail.big_body(5000))[:-100] + b"\r\n")
    assert sink.lines() == ["tok torn", "cut torn"]
    assert sink.counts()["bad"] == 2


@pytest.mark.parametrize("bad", [b"a\nb\r\n", b"a\rb\r\n", b"\n.\n\r\n", b"\r\r\n", b"\n.\r\n\r\n", b"\r\n.\n\r\n"])
def test_bare_line_ends_are_bad_and_end_nothing(sink, bad):
    with Client(sink.port) as client:
        client.ehlo()
        assert client.transaction("a@b.test", "c@d.test", marked("tok", b"x" + bad)).code == 250
        assert client.command("NOOP").code == 250
    assert sink.lines() == ["tok bare"]


def test_chunks_and_a_burst(sink):
    with Client(sink.port) as client:
        client.ehlo()
        content = marked("tok", b"chunk\r\n.\r\n")
        client.send(
            b"MAIL FROM:<>\r\nRCPT TO:<c@d.test>\r\nBDAT 5\r\n" + content[:5]
            + b"BDAT %d LAST\r\n" % (len(content) - 5) + content[5:]
            + b"MAIL FROM:<>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n.\r\nQUIT\r\n"
        )  # fmt: skip
        assert [client.reply().code for _ in range(8)] == [250, 250, 250, 250, 250, 250, 354, 250]
    assert sink.lines() == ["tok whole", " whole"]


def test_under_load(sink):
    for args in ([], ["-d"]):
        done = postfix.run_smtp_source(sink.port, 2000, *args, sessions=20, size=3000)
        assert done.returncode == 0, done.stderr
    counts = sink.counts()
    assert (counts["messages"], counts["bad"]) == (4000, 0)
    assert len(sink.lines()) == 4000
