#!/usr/bin/python3
"""Power cuts under the whole daemon.

    tests/crash/queue_cut.py BUILD powercut [IMAGES [SEED]]    300 images, a minute
    tests/crash/queue_cut.py BUILD powercut 5000 7             the longer form
    tests/crash/queue_cut.py BUILD badmeta [IMAGES [SEED]]     around a failed write of a meta page
    tests/crash/queue_cut.py BUILD caught [IMAGES [SEED]]      a disk that lies is found out

Everything parent and engine do to the files below the state folder is recorded
(record.c) while clients send messages of all sizes to many recipients, which
are delivered, held, deferred or bounced; half way the engine is killed and
begins again. Client and next hop write marks of what they were promised and
saw into the same log. powercut.py then builds what cuts at many moments may
have left, and queue_verify.c opens each image.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = Path(sys.argv[1]).resolve() if len(sys.argv) > 2 else None
os.environ["RELAYD_BUILD"] = str(BUILD)
sys.path.insert(0, str(HERE.parent / "e2e"))
sys.path.insert(0, str(HERE))

import powercut  # noqa: E402
from lab import mail, relayd, wait  # noqa: E402
from lab.client import Client  # noqa: E402
from lab.sink import Sink  # noqa: E402

CLIENTS = 6
MESSAGES = 300
SIZES = [(40, 300), (35, 4096), (18, 100 * 1024), (7, 1024 * 1024)]  # weight, bytes of body
DOMAINS = [  # of a message; what is not taken is either refused or late, so that notifications can be counted
    (60, [(80, "dest"), (20, "held")]),
    (20, [(50, "dest"), (10, "held"), (40, "bounce")]),
    (20, [(50, "dest"), (10, "held"), (40, "later")]),
]
STORAGE = "storage { ahead 1M; reserve 1M }"
LATER = "retry later.test { warn 1s; expire 3s }"
ROUTES = "route to held.test hold\nroute default via sink"


class Marks:
    """Appends marks to the recorder's log; whole records, so processes may mix."""

    def __init__(self, log):
        self.fd = os.open(log, os.O_WRONLY | os.O_APPEND)

    def __call__(self, text):
        data = text.encode() + b"\n"
        head = powercut.HEAD.pack(powercut.MAGIC, powercut.MARK, 0, 0, 0, 0, len(data))
        os.write(self.fd, head + data)


def next_hop(marks):
    sink = Sink()

    def rcpt(session, argument):
        if b"@bounce.test" in argument:
            marks("r " + session.path(argument)[0])
            return "550 5.1.1 no such user"
        return "451 4.7.1 come back later" if b"@later.test" in argument else None

    def eod(session, message):
        for address in message.recipients:
            marks("d " + address)

    sink.on("rcpt", rcpt)
    sink.on("eod", eod)
    return sink


class Sender(threading.Thread):
    def __init__(self, name, seed, count, daemon, marks):
        super().__init__(daemon=True)
        self.name, self.count = name, count
        self.port, self.marks = daemon.port, marks
        self.dice = random.Random(f"{seed}/{name}")
        self.acknowledged = 0
        self.failure = None

    def run(self):
        try:
            with Client(self.port, timeout=30) as client:
                client.ehlo()
                for number in range(self.count):
                    self.send(client, f"{self.name}x{number}")
        except Exception as failure:
            self.failure = failure

    def pick(self, weighted):
        return self.dice.choices([v for _, v in weighted], [w for w, _ in weighted])[0]

    def send(self, client, token):
        size = self.pick(SIZES)
        count = self.dice.choice([1, 1, 1, 2, 5, 30]) if size < 100_000 else self.dice.choice([1, 3])
        domains = self.pick(DOMAINS)
        addresses = [f"{token}.{n}@{self.pick(domains)}.test" for n in range(count)]
        content = mail.message(body=mail.big_body(self.dice.randint(size // 2, size), self.dice.random()))
        self.marks(f"s {token} {len(content)} {zlib.crc32(content):08x} {','.join(addresses)}")
        reply = client.transaction(f"{token}@back.test", addresses, content)
        if reply.code == 250:
            self.marks(f"a {token} {reply.queue_id}")
            self.acknowledged += 1
        elif reply.code == 451:  # a failing disk
            client.command("RSET")
            time.sleep(0.2)
        else:
            raise AssertionError(f"{token}: {reply}")


def load(prefix, seed, daemon, marks):
    senders = [Sender(f"{prefix}{n}", seed, MESSAGES // 2 // CLIENTS, daemon, marks) for n in range(CLIENTS)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(120)
        if sender.failure:
            raise sender.failure
    return sum(s.acknowledged for s in senders)


def quiet(log, within=10):
    """Waits until nothing is being written."""
    end = time.monotonic() + within
    size, since = -1, time.monotonic()
    while time.monotonic() < min(end, since + 0.15):
        now = os.path.getsize(log)
        if now != size:
            size, since = now, time.monotonic()
        time.sleep(0.01)


def kill_engine(daemon, log):
    """With a large message half sent, so that a body file is left that no record names."""
    with Client(daemon.port) as client:
        client.ehlo()
        client.command("MAIL FROM:<unfinished@back.test>")
        client.command("RCPT TO:<unfinished.0@dest.test>")
        client.command("DATA")
        client.send(mail.message(body=b"an unfinished line\r\n" * 50_000))
        quiet(log)
        os.kill(daemon.engine(), signal.SIGKILL)
        client.closed()


def record(place, seed, failing=None):
    """failing: the number of the write of a meta page that fails in each run of the engine."""
    log = place / "log"
    log.touch()
    log.chmod(0o666)  # parent and engine are different users
    marks = Marks(log)
    sink = next_hop(marks)
    daemon = relayd.Relayd(
        place / "relayd",
        routes=ROUTES,
        extra=f"smarthost sink {{ host 127.0.0.1:{sink.port}; tls none }}\n{STORAGE}\n{LATER}",
        limits="connections_per_client unlimited; message_memory 1M",
        retry="first 1s; factor 1; max 1s; expire 1h; warn never",
        env={
            "LD_PRELOAD": str(BUILD / "tests" / "crash" / "libpowercut_record.so"),
            "POWERCUT_DIR": str(place / "relayd" / "state"),
            "POWERCUT_LOG": str(log),
            **({"POWERCUT_FAIL": str(failing)} if failing else {}),
        },
    )
    try:
        daemon.start()
        acknowledged = load("a", seed, daemon, marks)
        kill_engine(daemon, log)
        acknowledged += load("b", seed, daemon, marks)
        assert failing or acknowledged == MESSAGES // 2 // CLIENTS * CLIENTS * 2, acknowledged
        wait.until(lambda: len(sink.messages) > acknowledged // 3, "deliveries")
        quiet(log, 3)
    except BaseException:
        print(*daemon.log.splitlines()[-40:], sep="\n", file=sys.stderr)
        raise
    finally:
        daemon.stop()
        sink.stop()
    print(f"{acknowledged} messages acknowledged, {len(sink.messages)} transactions delivered")
    return log


def replay(place, log, images, seed, *options):
    command = [
        sys.executable, HERE / "powercut.py", "replay", "--dir", place / "relayd" / "state", "--log", log,
        "--images", images, "--seed", seed, "--jobs", os.cpu_count(), *options,
        "--", BUILD / "tests" / "crash" / "queue_verify", "{dir}", "{marks}",
    ]  # fmt: skip
    return subprocess.run([str(c) for c in command]).returncode == 0


def marks_of(log):
    marks = b"".join(r[5] for r in powercut.read_log(log) if r[0] == powercut.MARK)
    return marks.decode().splitlines()


def first(lines, *beginnings):
    return next(i for i, line in enumerate(lines) if line.startswith(beginnings))


def false_marks(true):
    """(what the checker must say, marks with one lie)."""
    sent = [line.split() for line in true if line.startswith("s ")]
    acknowledged = {line.split()[1] for line in true if line.startswith("a ")}
    whole = next(s for s in sent if s[1] in acknowledged and "@held.test" in s[4])
    delivered = first(true, *(f"d {a}" for s in sent for a in s[4].split(",") if "@dest.test" in a))
    refused = first(true, "r ")
    yield "nothing wrong", true
    yield "never sent", [line for line in true if line != " ".join(whole)]
    yield "is not what was sent", [line.replace(f" {whole[3]} ", " 00000000 ") for line in true]
    yield "or shortened", [line.replace(f" {whole[2]} {whole[3]} ", f" 9999999 {whole[3]} ") for line in true]
    yield "acknowledged and is lost", [*true, "s ghost 9 0 ghost.0@dest.test", "a ghost 0000000000000001"]
    yield "acknowledged and is lost", [line.replace(whole[4], whole[4] + f",{whole[1]}.99@held.test") for line in true]
    yield "delivered and was not", [line for line in true if line != true[delivered]]
    yield "bounced and was not refused", [line for line in true if line != true[refused]]


def checker_sees(place, log):
    """Whether the checker finds what the marks are lied to about."""
    good = True
    for number, (said, lines) in enumerate(false_marks(marks_of(log))):
        marks = place / f"marks{number}"
        marks.write_text("\n".join(lines) + "\n")
        done = subprocess.run(
            [BUILD / "tests" / "crash" / "queue_verify", place / "relayd" / "state", marks],
            capture_output=True,
            text=True,
        )
        right = done.returncode == 0 if number == 0 else done.returncode == 1 and said in done.stdout
        print(f"{'ok' if right else 'FAILED'}: {said}" + ("" if right else f"\n{done.returncode}\n{done.stdout}"))
        good = good and right
    return good


def main():
    if len(sys.argv) < 3 or sys.argv[2] not in ("powercut", "badmeta", "caught"):
        sys.exit(__doc__)
    images = int(sys.argv[3]) if len(sys.argv) > 3 else 300
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    with tempfile.TemporaryDirectory(prefix="queue-cut-") as scratch:
        place = Path(scratch)
        place.chmod(0o755)
        log = record(place, seed, failing=20 if sys.argv[2] == "badmeta" else None)
        if sys.argv[2] != "caught":
            good = replay(place, log, images, seed, "--keep", BUILD / "tests" / "crash" / "queue-cut-failed")
        else:
            lies = ("file", "folder", "dsync", "all")
            good = checker_sees(place, log) and all([replay(place, log, images, seed, "--ignore-sync", lie, "--expect-failure") for lie in lies])
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
