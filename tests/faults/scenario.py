"""One tree of processes, and the mail that goes through it while a call fails.

Clients send a message in the clear to two sites, over TLS, with a body that
goes to a file, one that bounces, and after a login one that is signed; the
configuration is read again, the queue is listed. What got its 250 must be at
the far end afterwards, whole, or have bounced, once; and the tree must work.
"""

import base64
import collections
import dataclasses
import os
import re
import signal
import socket
import ssl
import threading
import time
import zlib
from pathlib import Path

from control import Control
from lab import mail, pki, ports, process, relayd, sink, wait
from lab.client import Client
from lab.dns import FakeDns

USER, PASSWORD = "a@client.test", "correct horse"
PATIENCE = 14  # seconds that a client waits for an answer or the end of its connection
STICKY_FOR = 0.7  # seconds for which all calls fail
SETTLE = 25  # seconds in which everything acknowledged has ended
BUSY_SHARE, BUSY_SECONDS = 0.7, 1.0  # of a core, for longer than that
DEATH = re.compile(r"parent\[\d+\].* (\w+)(?:/\d)?\[\d+\] (?:was ended by (signal \d+)|ended with (exit code \d+))")
READY = ("engine", "accounts", "sign/1", "sign/2")


@dataclasses.dataclass
class Point:
    phase: str  # "start" or "work"
    process: str
    kind: str
    sticky: bool = False
    number: int = 0  # the call to fail, from 1
    hash: int = 0  # or that of the stack to it
    frames: tuple = ()

    def __str__(self):
        call = f"call {self.number}" if self.number else f"stack {self.hash:016x}"
        return f"{self.phase} {self.process} {self.kind} {call}{' and on' if self.sticky else ''}"


@dataclasses.dataclass
class Outcome:
    point: Point
    failed: int = 0  # calls
    frames: tuple = ()
    end: str = ""  # how the tree took it
    problems: list = dataclasses.field(default_factory=list)
    refused: int = 0  # messages without a 250
    acknowledged: int = 0
    twice: int = 0  # allowed: see Lab.judge()
    seconds: float = 0
    slowest: float = 0  # answer to a client
    log: str = ""


class Sent:
    """A message, how it ended for its client, and what the far end must have."""

    def __init__(self, token, recipients, size=300, sender=USER, bounces=False):
        self.token, self.recipients, self.sender, self.bounces = token, recipients, sender, bounces
        self.body = mail.big_body(size, seed=len(token)) + f"end of {token}\r\n".encode()
        self.content = mail.message(X_Token=token, sender=sender, body=self.body)
        self.crc = zlib.crc32(self.body)
        self.acknowledged = False


class FarEnd(sink.Sink):
    """Knows its connections: each point is to begin without any."""

    @property
    def open(self):
        self.sessions = [s for s in self.sessions if s.sock.fileno() >= 0]
        return self.sessions


class Tree(relayd.Relayd):
    """Ready when its parent says so: no connection of ours is among the calls."""

    def launch(self):
        self.process = process.Process("relayd", [relayd.RELAYD, "-c", self.file], env=self.env)

    def is_ready(self):
        log = self.process.log
        return all(f"{name}[" in log and re.search(rf"\b{name}\[\d+\] is ready", log) for name in READY)


class Lab:
    def __init__(self, directory):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o755)
        self.authority = pki.Pki(self.directory / "pki")
        certificate, key = self.authority.issue("mx.relay.test")
        self.sink = FarEnd(tls=self.authority.server("mx.dest.test"))
        self.deferring = False
        self.sink.on("rcpt", self.answer_rcpt)
        self.dns = FakeDns()
        for domain in ("dest.test", "other.test"):
            self.dns.answer(domain, "MX", f"10 mx.{domain}.")
            self.dns.answer(f"mx.{domain}", "A", "127.0.0.1")
        self.control = Control(self.directory / "faults")
        self.submission = ports.free()
        self.tree = Tree(
            self.directory / "relayd",
            resolver=self.dns.address,
            delivery="loopback_mx allow; idle_timeout 20ms",
            mx_port=self.sink.port,
            retry="first 200ms; factor 1; max 200ms; doubt 200ms; expire 1h; warn never",
            extra=f"listen 127.0.0.1:{self.submission} {{ role submission; tls none }}\n"
            f"tls {{ certificate {certificate}; key {key} }}\n"
            "domain client.test { dkim auto }\n"
            "storage { ahead 1M; reserve 1M; map_size 64M }\n"
            "accounts { }",
            env={**self.control.env, **self.authority.env},
        )
        self.serial = 0
        self.judged = 0  # messages of the far end, of points before
        self.log_seen = 0
        self.kept = []  # acknowledged, and in the queue over a restart
        self.tls = ssl.create_default_context(cafile=self.authority.ca_file)
        self.tls.check_hostname = False
        self.start()
        self.tree.ctl("user", "add", USER, "--password-stdin", input=PASSWORD + "\n")
        self.work()  # what is done once is done
        self.known_keys = set(self.keys())

    def answer_rcpt(self, session, argument):
        if b"<no@" in argument:
            return "550 5.1.1 nobody of that name"
        return "451 4.3.0 later" if self.deferring and b"<later@" in argument else None

    # -- the tree

    def start(self):
        self.tree.launch()
        self.log_seen = 0
        self.tree.process.wait_for(self.tree.is_ready, "is ready", 20)

    def ask(self, request, timeout=6):
        """One request to the control socket: (status, body)."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(timeout)
            s.connect(str(self.tree.runtime / "control.sock"))
            method, path = request.split(" ")
            s.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while piece := s.recv(65536):
                answer += piece
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]) if head else 0, body

    def queue_is_empty(self):
        try:
            status, body = self.ask("GET /v1/queue?limit=1")
        except (OSError, IndexError):
            return False
        return status == 200 and b'"messages":[]' in body.replace(b" ", b"").replace(b"\n", b"")

    def storage_is_broken(self):
        try:
            return b'"broken"' in self.ask("GET /v1/status")[1]
        except (OSError, IndexError):
            return False

    def fresh_log(self):
        text = self.tree.process.log
        fresh, self.log_seen = text[self.log_seen :], len(text)
        return fresh

    def cpu_seconds(self):
        total = 0.0
        for pid in [self.tree.process.pid, *process.descendants(self.tree.process.pid)]:
            fields = process.stat(pid)
            if fields:
                total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return total

    # -- clients

    def client(self, sent, outcome, work):
        """Runs a client's session; nothing it meets is an error but silence."""
        began = time.monotonic()
        try:
            work(sent)
        except TimeoutError:
            outcome.problems.append(f"no answer to {sent.token} within {PATIENCE} s")
        except AssertionError as problem:
            outcome.problems.append(str(problem))
        except (OSError, EOFError, ValueError, ssl.SSLError):
            pass  # cut: what has no 250 is nobody's promise
        outcome.slowest = max(outcome.slowest, time.monotonic() - began)

    def connect(self, port):
        client = Client(port, timeout=PATIENCE)
        return client

    def transact(self, client, sent):
        reply = client.transaction(sent.sender, sent.recipients, sent.content)
        sent.acknowledged = reply.code == 250
        client.send("QUIT\r\n")

    def plain(self, sent):
        with self.connect(self.tree.port) as client:
            client.ehlo()
            self.transact(client, sent)

    def over_tls(self, sent):
        with self.connect(self.tree.port) as client:
            client.ehlo()
            if client.command("STARTTLS").code != 220:
                return
            client.sock = self.tls.wrap_socket(client.sock)
            client.ehlo()
            self.transact(client, sent)

    def logged_in(self, sent):
        with self.connect(self.submission) as client:
            client.ehlo()
            words = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()
            code = client.command(f"AUTH PLAIN {words}").code
            if code == 235:
                self.transact(client, sent)
            elif code not in (421, 454):
                raise AssertionError(f"a good password was answered {code}")

    def messages(self):
        self.serial += 1
        name = f"p{os.getpid()}-{self.serial}"
        return [
            (self.plain, Sent(f"{name}-two", ["b@dest.test", "c@other.test"])),
            (self.over_tls, Sent(f"{name}-large", ["b@dest.test"], size=700_000)),
            (self.plain, Sent(f"{name}-bounce", ["no@dest.test"], sender="sender@other.test", bounces=True)),
            (self.logged_in, Sent(f"{name}-login", ["b@dest.test"])),
        ]

    def run_scenario(self, outcome, sticky=False):
        """Returns what was sent."""
        todo = self.messages()
        threads = [
            threading.Thread(target=self.client, args=(sent, outcome, work), daemon=True) for work, sent in todo
        ]
        if sticky:
            timer = threading.Timer(STICKY_FOR, self.control.disarm)
            timer.start()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(4 * PATIENCE)
            if thread.is_alive():
                outcome.problems.append("a client hangs")
        for request in ("GET /v1/queue", "POST /v1/reload"):
            try:
                self.ask(request, PATIENCE)
            except TimeoutError:
                outcome.problems.append(f"{request}: no answer within {PATIENCE} s")
            except (OSError, IndexError):
                pass
        if sticky:
            timer.join()
        return [sent for _, sent in todo]

    def work(self):
        """The scenario, and nothing fails."""
        outcome = Outcome(None)
        sent = self.run_scenario(outcome)
        assert self.settle(sent) and all(s.acknowledged for s in sent), self.tree.log
        self.judge(sent, outcome, may_repeat=False)
        assert not outcome.problems, outcome.problems

    # -- afterwards

    def arrived(self):
        """({(token, recipient or "bounce"): times}, what is torn) of this point."""
        counts, torn, notices = collections.Counter(), [], collections.defaultdict(set)
        for message in self.sink.messages[self.judged :]:
            token = re.search(rb"^X-Token: (\S+)\r?$", message.content, re.MULTILINE)
            name = token.group(1).decode() if token else "without a token"
            if message.mail_from == "":
                # One notice may arrive twice, as any message; two are two.
                notice = re.search(rb"^Message-ID: (\S+)", message.content, re.MULTILINE | re.IGNORECASE)
                notices[name].add(notice.group(1))
                counts[name, "bounce"] += 1
                continue
            if not message.body.endswith(f"end of {name}\r\n".encode()):
                torn.append(name)
            for recipient in message.recipients:
                counts[name, recipient] += 1
        torn += [f"{len(ids)} notices about {name}" for name, ids in notices.items() if len(ids) > 1]
        return counts, torn

    @staticmethod
    def expected(sent):
        return {(s.token, "bounce" if s.bounces else r) for s in sent if s.acknowledged for r in s.recipients}

    def keys(self):
        return [n for n in os.listdir(self.tree.state / "keys") if not n.startswith(".")]

    @staticmethod
    def key_unread(point):
        """At a start a disk that does not give a key may cost its domain time, not others."""
        return point.phase == "start" and point.process == "parent" and point.kind in ("read", "status")

    def settle(self, sent, patience=SETTLE):
        """Until all that was acknowledged has ended and the queue is empty."""
        wanted = self.expected(sent)
        end = time.monotonic() + patience * wait.FACTOR
        while time.monotonic() < end:
            if wanted <= set(self.arrived()[0]) and self.queue_is_empty():
                return True
            if not self.tree.process.running():
                return False
            time.sleep(0.02)
        return False

    def judge(self, sent, outcome, may_repeat):
        counts, torn = self.arrived()
        wanted = self.expected(sent)
        known = {(s.token, "bounce" if s.bounces else r) for s in sent for r in s.recipients}
        bodies = {s.token: s for s in sent}
        outcome.acknowledged = sum(s.acknowledged for s in sent)
        outcome.refused = sum(not s.acknowledged for s in sent)
        outcome.problems += [f"lost: {t} to {r}" for t, r in sorted(wanted - set(counts))]
        outcome.problems += [f"wrong: {t}" for t in torn]
        outcome.problems += [f"unknown: {t} to {r}" for t, r in sorted(set(counts) - known)]
        for message in self.sink.messages[self.judged :]:
            token = re.search(rb"^X-Token: (\S+)\r?$", message.content, re.MULTILINE)
            s = bodies.get(token.group(1).decode()) if token and message.mail_from != "" else None
            if s is not None and zlib.crc32(message.body) != s.crc:
                outcome.problems.append(f"torn: {s.token}")
        for (token, recipient), times in sorted(counts.items()):
            if times > 1 and may_repeat:
                outcome.twice += times - 1
            elif times > 1:
                outcome.problems.append(f"{times} times: {token} to {recipient}")
        if self.sink.violations:
            outcome.problems += [f"sent: {v}" for v in self.sink.violations]
            self.sink.violations.clear()
        self.judged = len(self.sink.messages)

    def probe(self, outcome):
        """A message with a login, until one is taken: the whole tree works again."""
        end = time.monotonic() + SETTLE * wait.FACTOR
        tried = []
        while time.monotonic() < end:
            self.serial += 1
            sent = Sent(f"p{os.getpid()}-{self.serial}-probe", ["b@dest.test"])
            tried.append(sent)
            self.client(sent, outcome, self.logged_in)
            if sent.acknowledged:
                return tried
            if not self.tree.process.running() or self.storage_is_broken():
                break
            time.sleep(0.05)
        return tried

    def renew(self, outcome):
        """As a service manager would: ended, if it still runs, and started again."""
        ended = self.tree.process.running()
        code = self.tree.process.stop(35)
        if ended and code != 0:
            outcome.problems.append(f"told to end, it ended with {code}")
        if re.search(r"Sanitizer|runtime error:", self.tree.log):
            outcome.problems.append(self.tree.process.crash_report())
        try:
            self.start()
        except wait.Late as problem:
            outcome.problems.append(f"does not start again: {str(problem)[-600:]}")
            self.tree.process.kill_tree()
            self.start()

    def close(self):
        self.tree.expect_clean = False
        if self.tree.process:
            self.tree.stop(10)
        self.sink.stop()
        self.dns.stop()

    # -- a point

    def deaths(self, log):
        return [(m.group(1), m.group(2) or m.group(3)) for m in DEATH.finditer(log)]

    def visit(self, point):
        """Fails one call, and says what came of it."""
        outcome = Outcome(point)
        began = time.monotonic()
        sent = self.fail_at_start(outcome) if point.phase == "start" else self.fail_at_work(outcome)
        self.control.disarm()
        outcome.failed, outcome.frames = self.control.failed, tuple(self.control.frames)
        self.recover(outcome, sent)
        outcome.seconds = time.monotonic() - began
        return outcome

    def fail_at_work(self, outcome):
        self.fresh_log()
        wait.until(lambda: not self.sink.open, "the connections of before are closed", 5)
        cpu, began = self.cpu_seconds(), time.monotonic()
        self.control.arm(outcome.point)
        sent = self.run_scenario(outcome, outcome.point.sticky)
        if not outcome.point.sticky:
            self.settle(sent)  # deliveries have their calls, too
        self.busy(outcome, cpu, time.monotonic() - began)
        return sent

    def busy(self, outcome, before, seconds):
        used = self.cpu_seconds() - before
        if seconds > BUSY_SECONDS and used > BUSY_SHARE * seconds:
            outcome.problems.append(f"busy: {used:.2f} s of processor in {seconds:.2f} s")

    def fail_at_start(self, outcome):
        """With a message in the queue, whose body is a file."""
        self.serial += 1
        self.deferring = True
        sent = Sent(f"p{os.getpid()}-{self.serial}-kept", ["later@dest.test", "b@dest.test"], size=700_000)
        self.client(sent, outcome, self.plain)
        self.tree.stop()
        self.deferring = False
        self.control.arm(outcome.point)
        self.tree.launch()
        self.log_seen = 0
        patience = STICKY_FOR if outcome.point.sticky else 15
        try:
            wait.until(lambda: self.tree.is_ready() or not self.tree.process.running(), "ready", patience)
        except wait.Late:
            if not outcome.point.sticky:
                outcome.problems.append("neither ready nor ended")
        return [sent]

    def recover(self, outcome, sent):
        died_before = self.deaths(self.tree.process.log[self.log_seen :])
        renewed = None
        if self.tree.process.running() and len(died_before) > 1:
            renewed = "died again and again"  # the parent waits longer and longer
        elif not self.tree.process.running():
            renewed = f"relayd ended with {self.tree.process.popen.returncode}"
        log = self.fresh_log()
        if renewed is None:
            sent = sent + self.probe(outcome)
            if not sent[-1].acknowledged:
                renewed = "storage broken" if self.storage_is_broken() else "does not work"
            log += self.fresh_log()
        if renewed is not None:
            self.renew(outcome)
            log += self.fresh_log()
            sent = sent + self.probe(outcome)
        if not sent[-1].acknowledged:
            outcome.problems.append("takes no message any more")
        settled = self.settle(sent, 4 if self.key_unread(outcome.point) else SETTLE)
        if not settled and self.key_unread(outcome.point):
            renewed = "mended by a reload"  # mail from a domain without its keys waits for the admin
            self.ask("POST /v1/reload", PATIENCE)
            settled = self.settle(sent)
        if not settled and "can't be read from the queue" in log + self.tree.process.log[self.log_seen :]:
            renewed = "read again after a minute"
            settled = self.settle(sent, 60)
        if set(self.keys()) != self.known_keys:
            outcome.problems.append(f"other keys: {self.keys()}")
        if not settled:
            outcome.problems.append(f"not settled within {SETTLE} s")
        log += self.fresh_log()
        died = self.deaths(log)
        outcome.end = self.describe(renewed, died, log, outcome)
        self.judge(sent, outcome, may_repeat=bool(died) or renewed is not None or self.cut(outcome.point))
        if outcome.problems:
            outcome.log = log[-6000:]
        if not self.tree.process.running() or renewed is None and (died or outcome.problems):
            self.renew(outcome)  # its next death would be the second in a row

    @staticmethod
    def cut(point):
        """A connection to the far end may have been cut behind its final dot."""
        return point.process == "engine" and point.kind in ("read", "receive", "write", "send", "library_memory", "crypto_memory", "memory")

    @staticmethod
    def describe(renewed, died, log, outcome):
        if renewed == "does not work":
            outcome.problems.append("does not work without a restart")
        in_libraries = outcome.point.kind in ("library_memory", "crypto_memory")
        if "Assertion" in log and not in_libraries:
            outcome.problems.append("an assertion failed")
        for name, how in died:
            if how == "signal 11" and not in_libraries:
                outcome.problems.append(f"{name} was ended by a wild access")
        names = sorted({f"{name} {how}" for name, how in died})
        if renewed in ("mended by a reload", "read again after a minute"):
            return renewed
        if renewed:
            return f"{renewed}, started again" + (f" ({', '.join(names)})" if names else "")
        if names:
            return f"restarted: {', '.join(names)}"
        return "went on" if outcome.refused == 0 else "went on, and refused"
