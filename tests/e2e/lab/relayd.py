"""The daemon under test and its tool."""

import json
import os
import re
import signal
import subprocess
import tempfile
from pathlib import Path

from lab import RELAYCTL, RELAYD, ports, wait
from lab.client import until_greeted
from lab.process import Process, descendants, gone, name_of

# Times small enough for tests, in the same proportions as the defaults.
RETRY = "first 1s; factor 2; max 2s; doubt 3s; expire 10m; warn 5m"
DELIVERY = "loopback_mx allow"
# These exist everywhere and own nothing here.
ENGINE_USER, ACCOUNTS_USER, SIGN_USER = "daemon", "bin", "sys"
ADDRESS_IN_USE = re.compile(r"address (is )?(already )?in use|EADDRINUSE", re.IGNORECASE)


def available():
    """Why there is nothing to test, or None."""
    if not os.access(RELAYD, os.X_OK) or not os.access(RELAYCTL, os.X_OK):
        return f"not built: {RELAYD} and {RELAYCTL}"
    return None


def understands(text):
    """Whether these directives make a good configuration: of what a release has not yet, nothing is tested."""
    if available() is not None:
        return False
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write(f"hostname mx.relay.test\n{text}\n")
        file.flush()
        done = subprocess.run([RELAYD, "-n", "-c", file.name], capture_output=True, timeout=30)
    return done.returncode == 0


class Relayd:
    """One instance below a folder of its own.

    routes, extra: directives; delivery, retry, limits, listen: the inside of these blocks.
    mx_port: where MX hosts listen. resolver: "127.0.0.1:PORT".
    """

    def __init__(
        self,
        directory,
        routes="route default direct",
        resolver=None,
        mx_port=None,
        delivery=DELIVERY,
        retry=RETRY,
        limits=None,
        listen=None,
        trusted="127.0.0.0/8",
        hostname="mx.relay.test",
        extra="",
        env=None,
        loops="2",  # whatever the machine: what crosses loops is to be tested
        under=(),  # a command that runs it in other circumstances: prlimit …
    ):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.file = self.directory / "relayd.conf"
        self.state = self.directory / "state"
        self.runtime = self.directory / "run"
        self.port = ports.free()
        self.hostname = hostname
        self.routes, self.resolver, self.mx_port = routes, resolver, mx_port
        self.delivery, self.retry, self.limits, self.listen = delivery, retry, limits, listen
        self.trusted, self.extra, self.loops = trusted, extra, loops
        self.env, self.under = env or {}, under
        self.process = None
        self.logs = []  # of earlier runs
        self.expect_clean = True
        self.write_config()

    def config(self):
        lines = [
            f"hostname {self.hostname}",
            f"loops {self.loops}",
            f"state_dir {self.state}",
            f"runtime_dir {self.runtime}",
            f"listen 127.0.0.1:{self.port}" + (f" {{ {self.listen} }}" if self.listen else ""),
        ]
        if os.getuid() == 0:
            lines.append(f"users {{ engine {ENGINE_USER}; accounts {ACCOUNTS_USER}; sign {SIGN_USER} }}")
        if self.trusted:
            lines.append(f"trusted {self.trusted}")
        if self.resolver:
            lines.append(f"resolver {self.resolver}")
        delivery = self.delivery + (f"; port {self.mx_port}" if self.mx_port else "")
        lines.append(f"delivery {{ {delivery} }}")
        lines.append(f"retry {{ {self.retry} }}")
        if self.limits:
            lines.append(f"limits {{ {self.limits} }}")
        lines += [self.extra, self.routes]
        return "\n".join(lines) + "\n"

    def write_config(self, **changes):
        for name, value in changes.items():
            assert hasattr(self, name), name
            setattr(self, name, value)
        fresh = self.file.with_suffix(".new")
        fresh.write_text(self.config())
        os.replace(fresh, self.file)

    # -- life

    def start(self, timeout=20):
        """Starts it and waits for its greeting; takes another port if this one was snatched."""
        for attempt in range(3):
            self.process = Process("relayd", [*self.under, RELAYD, "-c", self.file], env=self.env)
            try:
                self.process.wait_for(lambda: self._greets(), "greets", timeout)
                return self
            except wait.Late:
                if not ADDRESS_IN_USE.search(self.process.log) or attempt == 2:
                    raise
                self.process.stop()
                ports.release(self.port)
                self.port = ports.free()
                self.write_config()
        return self

    def _greets(self):
        try:
            until_greeted(self.port, 0.2)
            return True
        except wait.Late:
            return False

    def stop(self, timeout=30):
        """SIGTERM; a clean end is part of every test."""
        if self.process is None:
            return
        process, self.process = self.process, None
        pids = descendants(process.pid)
        code = process.stop(timeout)
        self.logs.append(process.log)
        report = process.crash_report()
        assert report is None, report
        if self.expect_clean:
            assert code == 0, f"relayd ended with {code}\n{process.log}"
            gone(pids)

    def crash(self):
        """SIGKILL to the parent; its children must follow by themselves."""
        pids = descendants(self.process.pid)
        self.process.kill(signal.SIGKILL)
        self.process.popen.wait()
        gone(pids)
        process, self.process = self.process, None
        self.logs.append(process.log)
        report = process.crash_report()
        assert report is None, report

    def restart(self):
        self.stop()
        return self.start()

    def children(self):
        """{name: pid} of the child processes."""
        return {name_of(pid): pid for pid in descendants(self.process.pid)}

    def engine(self):
        for name, pid in self.children().items():
            if "engine" in name:
                return pid
        return None

    @property
    def log(self):
        return "\n".join([*self.logs, self.process.log if self.process else ""])

    def wait_log(self, pattern, timeout=15):
        """The first match of a regular expression in the log."""
        return wait.until(
            lambda: re.search(pattern, self.log, re.MULTILINE),
            lambda: f"/{pattern}/ in the log:\n{self.log}",
            timeout,
        )

    def log_lines(self, queue_id):
        return [line for line in self.log.splitlines() if f"{queue_id}:" in line]

    # -- relayctl

    def ctl(self, *args, check=True, timeout=30, input=None):
        done = subprocess.run(
            [RELAYCTL, "-c", self.file, *map(str, args)],
            capture_output=True,
            text=True,
            timeout=timeout,
            input=input,
        )
        if check:
            assert done.returncode == 0, f"relayctl {args}: {done.returncode}\n{done.stderr}\n{done.stdout}"
        return done

    def cat(self, queue_id):
        """What relayctl cat writes: bytes, and its exit code."""
        done = subprocess.run([RELAYCTL, "-c", self.file, "cat", queue_id], capture_output=True, timeout=30)
        return done.stdout, done.returncode

    def json(self, *args):
        done = self.ctl(*args, "--json")
        return json.loads(done.stdout)

    def queue(self, *filters):
        """The messages in the queue, all pages."""
        return self.json("queue", *filters)["messages"]

    def queue_ids(self, *filters):
        return [m["id"] for m in self.queue(*filters)]

    def recipients(self, queue_id):
        """{address: recipient} of a message that is still known."""
        return {r["address"]: r for r in self.json("show", queue_id)["recipients"]}

    def recipient_state(self, queue_id, address):
        return self.recipients(queue_id)[address]["state"]

    def events(self, what):
        return self.json("trace", what)["events"]

    def event_kinds(self, what):
        """"received", "deferred", "in doubt", "delivered"... in order"""
        return [e["event"].replace("_", " ").replace("-", " ") for e in self.events(what)]

    def wait_event(self, what, kind, timeout=20):
        wait.until(
            lambda: kind in self.event_kinds(what),
            lambda: f"event {kind}: {self.event_kinds(what)}\n{self.log}",
            timeout,
        )
        return [e for e, k in zip(self.events(what), self.event_kinds(what)) if k == kind]

    def wait_empty(self, timeout=20):
        wait.until(lambda: not self.queue(), lambda: f"an empty queue\n{self.queue()}\n{self.log}", timeout)
