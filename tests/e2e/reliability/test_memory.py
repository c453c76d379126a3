"""Row 37: little memory, many large messages at once.

The short form is 200 sessions of 2 MB. The long form, 2,000 of 20 MB, sends what
is taken of 40 GB and takes minutes; either with the default configuration:

    RELAYD_TEST_SESSIONS=2000 RELAYD_TEST_MEGABYTES=20 RELAYD_TEST_PATIENCE=20 \\
        /usr/bin/python3 -m pytest tests/e2e/reliability/test_memory.py
"""

import hashlib
import os
import resource
import subprocess
import sys
import threading

import pytest

from lab import mail, memory, wait
from lab.client import Client, send
from lab.process import descendants

SESSIONS = int(os.environ.get("RELAYD_TEST_SESSIONS", "200"))
MEGABYTES = int(os.environ.get("RELAYD_TEST_MEGABYTES", "2"))
LIMIT = 128 << 20


class Watch(threading.Thread):
    """The most memory of their own that a daemon and its children had."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.most, self.over = pid, 0, threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(0.05):
            self.most = max(self.most, memory.anonymous([self.pid, *descendants(self.pid)]))

    def stop(self):
        self.over.set()
        self.join()


class Sender(threading.Thread):
    """One message, all but its end, and after a signal the end; or what came instead."""

    def __init__(self, port, number, content, signal):
        super().__init__(daemon=True)
        self.port, self.number, self.content, self.signal = port, number, content, signal
        self.ready = threading.Event()
        self.reply = self.failure = None

    def refused(self, reply):
        self.reply = reply
        return reply.code >= 400

    def run(self):
        try:
            with Client(self.port, timeout=120) as client:
                if self.refused(client.greeting) or self.refused(client.ehlo()):
                    return
                if self.refused(client.command("MAIL FROM:<a@client.test>")):
                    return
                client.command(f"RCPT TO:<r{self.number}@dest.test>")
                if not self.refused(client.command("DATA")):
                    client.send(self.content)
                    self.ready.set()
                    self.signal.wait()
                    client.send(b".\r\n")
                    self.reply = client.reply()
        except Exception as failure:
            self.failure = failure
        finally:
            self.ready.set()


@pytest.fixture
def limited(lab):
    reason = memory.available()
    if reason:
        pytest.skip(reason)
    limit = lab._keep(memory.MemoryLimit(LIMIT))
    sink = lab.sink()
    daemon = lab.relayd(
        start=False,
        extra=f"smarthost sink {{ host 127.0.0.1:{sink.port}; tls none }}",
        routes="route default via sink",
        limits="connections 10000; connections_per_client unlimited; message_size 100M; "
        "data_timeout 30m; message_timeout unlimited",
    )
    daemon.under = limit.prefix
    daemon.start()
    return daemon, sink, limit


def keep_the_digest(session, message):
    """Of gigabytes; the header is the relay's own in part."""
    message.content = hashlib.sha256(message.body).hexdigest()


def test_37_large_messages_under_a_small_limit(limited):
    daemon, sink, limit = limited
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 3 * SESSIONS)), hard))
    sink.on("mail", "451 4.3.0 not yet")
    sink.on("eod", keep_the_digest)
    content = mail.message(body=mail.big_body(MEGABYTES * 1_000_000, "large"))
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    watch = Watch(daemon.process.pid)
    signal = threading.Event()
    threading.stack_size(256 << 10)
    senders = [Sender(daemon.port, n, stuffed, signal) for n in range(SESSIONS)]
    for sender in senders:
        sender.start()
    wait.until(lambda: all(s.ready.is_set() for s in senders), "all have sent all but the end", 100)
    at_once = watch.most
    assert send(daemon.port, "a@client.test", "small@dest.test", mail.message()).code in (250, 452)
    signal.set()
    for sender in senders:
        sender.join(100 * wait.FACTOR)
    print(f"anonymous {at_once >> 20} / {watch.most >> 20} MiB, peak with page cache {limit.peak >> 20} MiB")
    assert [s.failure for s in senders if s.failure] == []
    codes = [s.reply.code for s in senders]
    assert set(codes) <= {250, 452, 421}, codes
    taken = codes.count(250)
    assert taken > min(SESSIONS, 512) // 2, f"{taken} of {SESSIONS} taken"
    sink.on("mail", None)
    daemon.ctl("retry", "--all", "--yes")
    daemon.wait_empty(200)
    assert send(daemon.port, "a@client.test", "small@dest.test", mail.message()).code == 250
    watch.stop()
    print(f"anonymous {watch.most >> 20} MiB, peak with page cache {limit.peak >> 20} MiB, {taken} taken")
    assert limit.kills == 0
    assert watch.most < LIMIT * 7 // 8, f"{watch.most >> 20} MiB"
    large = [m for m in sink.messages if m.recipients[0] != "small@dest.test"]
    assert len(large) == taken
    whole = hashlib.sha256(content.partition(b"\r\n\r\n")[2]).hexdigest()
    assert all(m.content == whole for m in large)


GLUTTON = """
import sys
memory = bytearray(int(sys.argv[1]) << 20)
for at in range(0, len(memory), 4096):
    memory[at] = 1
print("full", flush=True)
sys.stdin.read()
"""


def test_37_other_programs_use_the_memory(limited):
    daemon, _, limit = limited
    client = Client(daemon.port)
    client.ehlo()
    glutton = subprocess.Popen(
        [*limit.prefix, sys.executable, "-c", GLUTTON, "100"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert glutton.stdout.readline() == b"full\n"
        daemon.wait_log(r"memory runs out: \d+ of the 128 MiB that /\S+ allows are in use; new messages get 452")
        assert daemon.json("status")["memory"]["state"] == "full"
        reply = client.command("MAIL FROM:<a@client.test>")
        assert (reply.code, reply.enhanced) == (452, "4.3.1")
        with Client(daemon.port) as further:
            assert further.greeting.code == 421
            assert further.closed()
    finally:
        glutton.communicate()
    daemon.wait_log(r"there is memory again: \d+ of 128 MiB")
    assert client.transaction("a@client.test", "b@dest.test", mail.message()).code == 250
    client.close()
    assert daemon.log.count("memory runs out") == 1
    assert limit.kills == 0
