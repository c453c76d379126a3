"""Rows 3, 4, 5, 47, 48 and 49: slow, failing and full disks under the running daemon."""

import os
import random
import re
import statistics
import threading
import time

import pytest

from lab import mail, wait
from lab.client import Client, send
from lab.disk import LIBRARY, Disk, FailingDisk, SmallDisk

RETRY = "first 1s; factor 1; max 1s; doubt 1s; expire 1h; warn never"
LARGE = 700_000  # a body file


def content(token, size=2000):
    return mail.message(X_Token=token, body=mail.big_body(size, token))


def tokens(sink):
    return sorted(re.search(rb"(?m)^X-Token: (.*?)\r$", m.header).group(1).decode() for m in sink.messages)


def stuffed(data):
    return data.replace(b"\r\n.", b"\r\n..")


@pytest.fixture
def on_disk(lab):
    """(relayd, sink, disk): the disk does what it is told."""
    if not LIBRARY.exists():
        pytest.skip(f"not built: {LIBRARY}")
    sink = lab.sink()
    daemon = lab.relay_to(sink, start=False, retry=RETRY)
    disk = Disk(lab.folder / "disk", daemon.state)
    daemon.env.update(disk.env)
    daemon.start()
    return daemon, sink, disk


def post(daemon, token, size=2000):
    return send(daemon.port, "a@client.test", "b@dest.test", content(token, size))


def accepted(daemon, token, timeout=30):
    """Sends until it is taken; each try is a message of its own, the last one's token is returned."""
    tries = [0]

    def once():
        tries[0] += 1
        return post(daemon, f"{token}.{tries[0]}").code == 250

    wait.until(once, "accepts again", timeout, step=0.2)
    return f"{token}.{tries[0]}"


def begin_data(client):
    client.ehlo()
    client.command("MAIL FROM:<a@client.test>")
    client.command("RCPT TO:<b@dest.test>")
    assert client.command("DATA").code == 354


# -- 3


@pytest.mark.parametrize("size", [2000, LARGE])
def test_3_no_250_before_its_sync_has_returned(on_disk, size):
    daemon, sink, disk = on_disk
    with Client(daemon.port) as client:
        begin_data(client)
        client.send(stuffed(content("slow", size)))
        disk.set(delay=2)
        dot = time.monotonic()
        client.send(".\r\n")
        reply = client.reply()
        answered = time.monotonic()
    assert reply.code == 250
    disk.set()
    syncs = [s for s in disk.syncs() if s.began >= dot and s.ended <= answered]
    database = [s for s in syncs if s.path.endswith("/queue/data.mdb")]
    assert {s.kind for s in database} == {"sync", "meta"}, syncs
    if size == LARGE:  # the file, then its folder, then the record that names it
        body = [s for s in syncs if s.kind == "body"]
        assert len(body) == 2, syncs
        assert body[-1].ended <= [s for s in database if s.kind == "sync"][-1].began, syncs
    (message,) = sink.wait(1)
    assert message.at >= database[-1].ended  # nor is it delivered before


# -- 4


def once_quiet(disk):
    """The next sync is the next message's."""
    wait.until(lambda: time.monotonic() - disk.syncs()[-1].ended > 1.3, "a quiet disk", 30)


@pytest.mark.parametrize("kind", ["sync", "meta"])
def test_4_a_sync_that_fails_once_is_not_believed(on_disk, kind):
    daemon, sink, disk = on_disk
    assert post(daemon, "before").code == 250
    sink.wait(1)
    daemon.wait_empty()
    once_quiet(disk)
    disk.set(failures=1, kind=kind)
    reply = post(daemon, "refused")
    assert (reply.code, reply.enhanced) == (451, "4.3.0")
    with Client(daemon.port) as client:  # broken until a trial commit has come through
        client.ehlo()
        assert client.command("MAIL FROM:<a@client.test>").code == 451
    after = accepted(daemon, "after")
    sink.wait(2)
    disk.set()
    daemon.restart()
    daemon.wait_empty()
    assert tokens(sink) == sorted(["before", after])


def test_4_a_body_file_that_fails_its_sync_is_not_believed(on_disk):
    daemon, sink, disk = on_disk
    disk.set(failures=1, kind="body")
    assert post(daemon, "refused", LARGE).code == 451
    assert post(daemon, "after", LARGE).code == 250  # the database is not in doubt
    sink.wait(1)
    daemon.wait_empty()
    wait.until(lambda: not list(daemon.state.glob("body/*/*")), "no body file is left")
    assert tokens(sink) == ["after"]


@pytest.mark.parametrize("kind", ["sync", "meta"])
def test_4_while_all_syncs_fail_nothing_is_accepted_nor_delivered(on_disk, kind):
    daemon, sink, disk = on_disk
    sink.on("mail", "451 4.3.0 not yet")
    assert post(daemon, "queued").code == 250
    daemon.wait_log("status=deferred")
    with Client(daemon.port) as early:
        early.ehlo()
        early.command("MAIL FROM:<a@client.test>")
        early.command("RCPT TO:<b@dest.test>")
        disk.set(failures=-1, kind=kind)
        for n in range(6):
            reply = post(daemon, f"refused{n}")
            assert reply.code == 451, reply
        reply = early.command("DATA")
        assert (reply.code, reply.enhanced) == (451, "4.3.0")
    daemon.wait_log("nothing is accepted or delivered")
    attempts = lambda: sum(len(s.commands) for s in sink.sessions)  # noqa: E731
    before = attempts()
    wait.never(lambda: attempts() > before + 20, "attempts on a broken store", 2)
    before = attempts()
    wait.never(lambda: attempts() > before + 2, "attempts on a broken store", 4)  # but for a QUIT
    sink.on("mail", None)
    assert post(daemon, "refused").code == 451
    wait.never(lambda: sink.messages, "delivered on a broken store", 2)
    disk.set()
    after = accepted(daemon, "after")
    sink.wait(2)
    daemon.wait_empty()
    assert tokens(sink) == sorted(["queued", after])


class Sender(threading.Thread):
    """Messages one after the other, each with a token of its own."""

    def __init__(self, daemon, name, stop):
        super().__init__(daemon=True)
        self.port, self.name, self.stop = daemon.port, name, stop
        self.answers = {}
        self.failure = None

    def run(self):
        try:
            while not self.stop.is_set():
                token = f"{self.name}-{len(self.answers)}"
                size = LARGE if len(self.answers) % 10 == 9 else 3000
                reply = send(self.port, "a@client.test", "b@dest.test", content(token, size))
                self.answers[token] = reply.code
                if reply.code != 250:
                    assert (reply.code, reply.enhanced) == (451, "4.3.0"), reply
                    self.stop.wait(0.1)
        except Exception as failure:
            self.failure = failure


def test_4_syncs_that_fail_now_and_then_under_load(on_disk):
    """What was acknowledged arrives once, what was refused never."""
    daemon, sink, disk = on_disk
    dice = random.Random(4)
    stop = threading.Event()
    senders = [Sender(daemon, f"s{n}", stop) for n in range(6)]
    for sender in senders:
        sender.start()
    for n in range(10):
        stop.wait(dice.uniform(0.2, 1.5))
        disk.set(failures=1, kind=["sync", "meta", "body"][n % 3])
    stop.wait(2)
    disk.set()
    accepted(daemon, "after")
    # A busy machine takes longer for as many.
    wait.until(
        lambda: sum(list(s.answers.values()).count(250) for s in senders) > 50,
        lambda: f"50 messages taken: {[len(s.answers) for s in senders]}, {[s.failure for s in senders]}",
        60,
    )
    stop.set()
    for sender in senders:
        sender.join(30)
        assert sender.failure is None, sender.failure
    answers = {token: code for sender in senders for token, code in sender.answers.items()}
    good = sorted(token for token, code in answers.items() if code == 250)
    assert len(answers) - len(good) > 10
    daemon.wait_empty(60)
    assert sorted(token for token in tokens(sink) if not token.startswith("after")) == good


# -- 5


@pytest.fixture
def on_small_disk(lab):
    """Makes (relayd, sink, disk): what comes waits on a disk of 64 MiB and so many inodes."""
    if os.getuid() != 0:
        pytest.skip("only root may mount")

    def make(inodes=0):
        disk = lab._keep(SmallDisk(lab.folder / "small", "64m", inodes=inodes))
        sink = lab.sink()
        sink.on("mail", "451 4.3.0 not yet")
        daemon = lab.relay_to(
            sink,
            name="small/relayd",
            extra="storage { ahead 4M; reserve 8M }",
            retry=RETRY,
        )
        return daemon, sink, disk

    return make


def test_5_a_full_disk_refuses_drains_and_recovers_alone(on_small_disk):
    daemon, sink, small_disk = on_small_disk()
    queued = [f"queued{n}" for n in range(12)]
    for n, token in enumerate(queued):
        assert post(daemon, token, LARGE if n % 4 == 0 else 30_000).code == 250
    with Client(daemon.port) as client, Client(daemon.port) as patient:
        begin_data(client)
        begin_data(patient)
        large = stuffed(content("too much", 2_000_000))
        client.send(large[:1_000_000])
        patient.send(stuffed(content("small")))
        small_disk.fill()
        client.send(large[1_000_000:] + b".\r\n")
        reply = client.reply()
        assert (reply.code, reply.enhanced) == (452, "4.3.1")
        patient.send(".\r\n")  # there is room set aside, which it may use or not
        small = patient.reply()
        assert small.code in (250, 452), small
    reply = post(daemon, "refused")
    assert (reply.code, reply.enhanced) == (452, "4.3.1")
    sink.on("mail", None)
    expected = sorted(queued + (["small"] if small.code == 250 else []))
    wait.until(lambda: len(sink.messages) >= len(expected), "queued mail drains on a full disk", 30)
    daemon.wait_empty()
    assert post(daemon, "refused").code == 452
    small_disk.make_room()
    after = accepted(daemon, "after")
    wait.until(lambda: len(sink.messages) > len(expected), "the newest", 15)
    daemon.wait_empty()
    assert tokens(sink) == sorted(expected + [after])
    assert "bounced" not in daemon.log and "expired" not in daemon.log


# -- 47


def test_47_without_inodes_large_mail_waits_outside(on_small_disk):
    """Body files need one each; the records of small messages need none."""
    daemon, sink, disk = on_small_disk(inodes=700)
    queued = ["before-large", "before-small"]
    assert post(daemon, queued[0], LARGE).code == 250
    assert post(daemon, queued[1]).code == 250
    disk.take_inodes()
    reply = post(daemon, "refused", LARGE)
    assert (reply.code, reply.enhanced) == (452, "4.3.1")
    assert post(daemon, "small").code == 250
    sink.on("mail", None)
    wait.until(lambda: tokens(sink) == sorted([*queued, "small"]), "what waits drains", 30)
    daemon.wait_empty()
    disk.give_inodes()
    assert post(daemon, "after", LARGE).code == 250
    daemon.wait_empty()
    assert tokens(sink) == sorted([*queued, "small", "after"])


# -- 48


def test_48_a_disk_that_turns_read_only_loses_nothing(lab):
    if os.getuid() != 0:
        pytest.skip("only root may mount")
    disk = FailingDisk(lab.folder / "failing")
    lab._keep(disk)
    disk.mount()
    sink = lab.sink()
    sink.on("mail", "451 4.3.0 not yet")
    daemon = lab.relay_to(
        sink,
        name="failing/mounted/relayd",
        extra="storage { ahead 4M; reserve 8M }",
        retry=RETRY,
    )
    queued = ["small", "large"]
    os.sync()  # the lab's own files: this is about relayd's
    assert post(daemon, queued[0]).code == 250
    assert post(daemon, queued[1], LARGE).code == 250
    disk.fail()
    sink.on("mail", None)
    for size in (2000, LARGE):
        for n in range(3):
            assert post(daemon, f"refused{n}", size).code in (451, 452)
    wait.until(lambda: daemon.json("status")["storage"]["state"] == "broken", "status says it is broken", 10)
    daemon.stop()
    disk.repair()
    daemon.start()
    wait.until(lambda: set(tokens(sink)) == set(queued), "what was acknowledged", 30)
    after = accepted(daemon, "after")
    daemon.wait_empty()
    assert after in tokens(sink)
    # An attempt whose end could not be recorded is made again; more than that is not.
    assert all(tokens(sink).count(token) <= 2 for token in queued), tokens(sink)
    assert "refused" not in " ".join(tokens(sink))


# -- 49


def test_49_a_slow_disk_does_not_hold_up_other_sessions(on_disk):
    daemon, sink, disk = on_disk
    disk.set(delay=0.5)
    stop = threading.Event()
    taken, failures = [], []

    def sender(number):
        try:
            with Client(daemon.port) as client:
                client.ehlo()
                while not stop.is_set():
                    reply = client.transaction("a@client.test", f"r{number}@dest.test", content(f"{number}"))
                    assert reply.code == 250, reply
                    taken.append(number)
        except Exception as failure:
            failures.append(failure)

    senders = [threading.Thread(target=sender, args=(n,), daemon=True) for n in range(30)]
    for thread in senders:
        thread.start()
    wait.until(lambda: len(taken) >= 10, "messages are taken")
    begun, before = time.monotonic(), len(taken)
    answers = []
    while time.monotonic() - begun < 5:
        at = time.monotonic()
        with Client(daemon.port) as client:
            answers.append(time.monotonic() - at)
            for text in ("EHLO probe.test", "MAIL FROM:<p@client.test>", "RCPT TO:<q@dest.test>", "RSET", "NOOP"):
                at = time.monotonic()
                assert client.command(text).code == 250
                answers.append(time.monotonic() - at)
        stop.wait(0.02)
    rate = (len(taken) - before) / (time.monotonic() - begun)
    stop.set()
    for thread in senders:
        thread.join(20)
    disk.set()
    assert not failures, failures
    # A loaded machine may spoil one answer in a hundred; a loop that waited for
    # the disk would spoil most.
    assert len(answers) > 100
    assert statistics.quantiles(answers, n=100)[98] < 0.1 * wait.FACTOR, sorted(answers)[-5:]
    # One message a commit would be one a second.
    assert rate > 5, f"{rate:.1f} messages a second"
    wait.until(lambda: len(sink.messages) >= len(taken), "all arrive", 30)
