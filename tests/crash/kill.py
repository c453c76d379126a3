#!/usr/bin/python3
"""kill.py: what got a 250 arrives, whatever is killed.

    tests/crash/kill.py                       80 rounds, two to four minutes
    tests/crash/kill.py --rounds 1000 --seed 7 --victims engine

Clients send messages with a token and a CRC of the body in their headers, and
note each token that got its 250; half of them log in first, and all their mail
is signed before it leaves. smtp-source adds
load of its own. In each round the parent or one of the processes gets SIGKILL
at a random moment; a killed parent is started again, all others are the
parent's business. In the end, the queue
drained, every noted token must be at the sink, whole; a token may be there
twice only as often as deliveries were in flight at a kill of parent or engine: the
others carry no mail.
"""

import argparse
import base64
import collections
import dataclasses
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from lab import BUILD, mail, ports, postfix, relayd, wait  # noqa: E402
from lab.client import Client  # noqa: E402
from lab.process import alive, descendants, gone, name_of, stat  # noqa: E402

SITE_CONNECTIONS = 8
FULL_LIFE = 1.5  # seconds; a process killed after that long is no sign of a loop
SIGNING = "domain client.test { dkim auto }"
VICTIMS = ("parent", "engine", "accounts", "sign")
CARRIERS = ("parent", "engine")  # of mail
USER, PASSWORD = "a@client.test", "correct horse"


@dataclasses.dataclass
class Result:
    rounds: int = 0
    kills: dict = dataclasses.field(default_factory=lambda: {v: 0 for v in VICTIMS})
    sent: int = 0  # tokens whose content went out, whatever came back
    acknowledged: int = 0
    arrived: int = 0
    logins: int = 0
    duplicates: int = 0
    lost: list = dataclasses.field(default_factory=list)
    torn: list = dataclasses.field(default_factory=list)
    unknown: list = dataclasses.field(default_factory=list)  # nobody sent these
    bounced: list = dataclasses.field(default_factory=list)
    reports: list = dataclasses.field(default_factory=list)  # sanitizers, unclean ends
    killed_early: dict = dataclasses.field(default_factory=dict)  # victim: the last of them

    @property
    def duplicates_allowed(self):
        return sum(self.kills.get(v, 0) for v in CARRIERS) * SITE_CONNECTIONS

    def problems(self):
        found = []
        for name in ("lost", "torn", "unknown", "bounced", "reports"):
            items = getattr(self, name)
            if items:
                found.append(f"{len(items)} {name}: {items[:5]}")
        if self.duplicates > self.duplicates_allowed:
            found.append(f"{self.duplicates} duplicates, {self.duplicates_allowed} in flight")
        if not self.acknowledged:
            found.append("nothing was acknowledged")
        return found

    def __str__(self):
        kills = ", ".join(f"{n} of {v}" for v, n in self.kills.items())
        return (
            f"{self.rounds} rounds, kills: {kills}; {self.logins} logins, "
            f"{self.acknowledged} acknowledged of {self.sent} sent, "
            f"{self.arrived} arrived, {len(self.lost)} lost, {len(self.torn)} torn, "
            f"{self.duplicates} duplicates (up to {self.duplicates_allowed} in flight)"
        )


class Sender(threading.Thread):
    """One client: a few messages a session, reconnecting whenever it is cut."""

    def __init__(self, number, seed, daemon, stop):
        super().__init__(daemon=True)
        self.number, self.daemon_under_test, self.stop = number, daemon, stop
        self.dice = random.Random(f"{seed}/{number}")
        self.sent, self.acknowledged = [], []
        self.logs_in, self.logins = number % 2 == 1, 0

    def connect(self):
        daemon = self.daemon_under_test
        return Client(daemon.submission if self.logs_in else daemon.port, timeout=20)

    def login(self, client):
        """False: not now; a password that is right is never refused."""
        words = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()
        code = client.command(f"AUTH PLAIN {words}").code
        assert code in (235, 421, 454), code
        self.logins += code == 235
        return code == 235

    def run(self):
        while not self.stop.is_set():
            try:
                with self.connect() as client:
                    client.ehlo()
                    if self.logs_in and not self.login(client):
                        self.stop.wait(0.02)
                        continue
                    for _ in range(self.dice.randint(1, 20)):
                        if self.stop.is_set():
                            break
                        self.send(client)
                    client.send("QUIT\r\n")
            except (OSError, EOFError, AssertionError, ValueError):
                # Killed under us: what has no 250 is nobody's promise.
                self.stop.wait(0.02)

    def content(self, token):
        kind = self.dice.random()
        size = self.dice.randint(10, 8000) if kind < 0.95 else self.dice.randint(100_000, 900_000)
        body = mail.big_body(size, seed=self.dice.random())
        return mail.message(X_Token=token, X_Crc32=f"{zlib.crc32(body):08x}", body=body)

    def send(self, client):
        token = f"t{self.number}-{len(self.sent)}"
        content = self.content(token)
        recipients = [f"r{n}@dest.test" for n in range(self.dice.choice([1, 1, 1, 2]))]
        self.sent.append(token)
        if client.transaction(USER, recipients, content).code == 250:
            self.acknowledged.append(token)
        else:
            client.command("RSET")


class Background(threading.Thread):
    """smtp-source, started again whenever a kill ends it."""

    def __init__(self, daemon, stop):
        super().__init__(daemon=True)
        self.daemon_under_test, self.stop = daemon, stop

    def run(self):
        env = {**os.environ, **postfix.environment()}
        while not self.stop.is_set():
            command = postfix.smtp_source(self.daemon_under_test.port, 500, "-d", sessions=4, size=2000)
            process = subprocess.Popen(
                [str(c) for c in command], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            while process.poll() is None and not self.stop.wait(0.05):
                pass
            if process.poll() is None:
                process.kill()
                process.wait()
            self.stop.wait(0.1)


class Recorder:
    """bench/sink, writing down the token and the state of each message."""

    def __init__(self, directory):
        self.file = directory / "arrived"
        self.popen = subprocess.Popen(
            [BUILD / "bench" / "sink", "--record", self.file, "0"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self.popen.stdout.readline().split()[1])

    def arrivals(self):
        """[(token, verdict)], "" for smtp-source's messages."""
        if not self.file.exists():
            return []
        return [tuple(line.rsplit(" ", 1)) for line in self.file.read_text().splitlines()]

    def stop(self):
        self.popen.stdin.close()
        self.popen.wait(10)


def age(pid):
    """Seconds since a process began."""
    ticks = int(stat(pid)[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def available_victims():
    return [v for v in VICTIMS if v != "sign" or relayd.understands(SIGNING)]


def those_called(daemon, victim):
    return [pid for pid in descendants(daemon.process.pid) if name_of(pid) == f"relayd: {victim}"]


def kill_child(daemon, victim, result, dice):
    """Also while it still begins, but never twice in a row: the parent would
    take that for a loop of crashes and let longer and longer times pass."""
    pid = dice.choice(wait.until(lambda: those_called(daemon, victim), f"a process {victim}", 20))
    if result.killed_early.get(victim):
        wait.until(lambda: age(pid) > FULL_LIFE, f"a life of {victim}")
    result.killed_early[victim] = age(pid) <= FULL_LIFE
    os.kill(pid, signal.SIGKILL)
    wait.until(lambda: not alive(pid), "its end")


def kill_one(daemon, victim, result, dice):
    """Kills, and starts again what nobody else would."""
    if victim != "parent":
        kill_child(daemon, victim, result, dice)
    else:
        children = descendants(daemon.process.pid)
        daemon.process.kill(signal.SIGKILL)
        daemon.process.popen.wait()
        gone(children)
        report = daemon.process.crash_report()
        if report:
            result.reports.append(report)
        daemon.logs.append(daemon.process.log)
        daemon.process = None
        daemon.start()
        result.killed_early.clear()
    result.kills[victim] += 1


def judge(result, senders, arrivals, log):
    counts = collections.Counter(token for token, _ in arrivals if token)
    sent = {token for s in senders for token in s.sent}
    acknowledged = {token for s in senders for token in s.acknowledged}
    result.sent, result.acknowledged, result.arrived = len(sent), len(acknowledged), len(counts)
    result.logins = sum(s.logins for s in senders)
    result.lost = sorted(acknowledged - set(counts))
    result.torn = [f"{token or 'smtp-source'} {verdict}" for token, verdict in arrivals if verdict != "whole"]
    result.unknown = sorted(set(counts) - sent)
    result.duplicates = sum(n - 1 for n in counts.values())
    result.bounced = [line for line in log.splitlines() if "status=bounced" in line or "status=expired" in line]


def write_users(place):
    users = place / "users"
    users.write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
    users.chmod(0o644)
    return users


def run(rounds=80, seed=1, clients=8, victims=None, say=lambda text: None, directory=None):
    dice = random.Random(seed)
    victims = victims or available_victims()
    result = Result(rounds=rounds, kills={v: 0 for v in victims})
    place = Path(directory or tempfile.mkdtemp(prefix="relayd-kill-"))
    place.chmod(0o755)
    recorder = Recorder(place)
    submission = ports.free()
    daemon = relayd.Relayd(
        place / "relayd",
        routes="route default via sink",
        extra=f"smarthost sink {{ host 127.0.0.1:{recorder.port}; tls none }}\n"
        f"listen 127.0.0.1:{submission} {{ role submission; tls none }}\n"
        f"accounts {{ file {write_users(place)} }}\n" + (SIGNING if "sign" in victims else ""),
        limits="connections_per_client unlimited",
        delivery=f"loopback_mx allow; connections_per_site {SITE_CONNECTIONS}",
        retry="first 1s; factor 1; max 1s; doubt 1s; expire 1h; warn never",
    )
    daemon.submission = submission
    stop = threading.Event()
    senders = []
    try:
        daemon.start()
        senders = [Sender(n, seed, daemon, stop) for n in range(clients)]
        background = Background(daemon, stop)
        for thread in [*senders, background]:
            thread.start()
        for number in range(rounds):
            stop.wait(dice.uniform(0.05, 1.2))
            victim = dice.choice(victims)
            kill_one(daemon, victim, result, dice)
            if (number + 1) % 10 == 0:
                acknowledged = sum(len(s.acknowledged) for s in senders)
                say(f"{number + 1} rounds, {acknowledged} acknowledged")
        stop.wait(1)
        stop.set()
        for thread in [*senders, background]:
            thread.join(30)
        drain(daemon, recorder, senders)
    finally:
        stop.set()
        try:
            daemon.stop(60)
        except AssertionError as problem:
            result.reports.append(str(problem)[:4000])
        recorder.stop()
        judge(result, senders, recorder.arrivals(), daemon.log)
        if result.problems():
            (place / "relayd.log").write_text(daemon.log)
            say(f"kept for inspection: {place}")
        else:
            shutil.rmtree(place, ignore_errors=True)
    return result


def drain(daemon, recorder, senders, patience=120):
    """Until all acknowledged tokens are there and the queue is empty, or no more comes."""
    acknowledged = {token for s in senders for token in s.acknowledged}
    end = time.monotonic() + patience * wait.FACTOR
    while time.monotonic() < end:
        there = {token for token, _ in recorder.arrivals()}
        if acknowledged <= there and not daemon.queue("--limit", "1"):
            return
        time.sleep(0.2)


def main():
    parser = argparse.ArgumentParser(description="kills relayd under load and counts what is lost")
    parser.add_argument("--rounds", type=int, default=80)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--victims", default=",".join(available_victims()))
    options = parser.parse_args()
    if relayd.available():
        sys.exit(f"kill.py: {relayd.available()}")
    victims = options.victims.split(",")
    if not set(victims) <= set(VICTIMS):
        parser.error(f"victims are of {VICTIMS}")
    print(f"seed {options.seed}")
    started = time.monotonic()
    result = run(options.rounds, options.seed, options.clients, victims, say=lambda t: print(t, flush=True))
    print(f"{result} in {time.monotonic() - started:.0f} s")
    for problem in result.problems():
        print(f"FAILED: {problem}")
    sys.exit(1 if result.problems() else 0)


if __name__ == "__main__":
    main()
