"""The processes that the engine asks: as whom they run, what they are kept from, and that
the death of one is nobody else's."""

import os
import pwd
import re
import signal
import smtplib
import socket
import stat
import threading
import time

import pytest

from lab import RELAYD, ports, wait
from lab.process import alive, descendants, gone, name_of
from lab.relayd import ACCOUNTS_USER, Relayd

pytestmark = pytest.mark.skipif(not os.access(RELAYD, os.X_OK), reason=f"not built: {RELAYD}")

USER, PASSWORD = "ada@here.test", "correct horse"
ACCOUNTS = "relayd: accounts"
SANITIZED = "-fsanitize=" in (RELAYD.parents[1] / "build.ninja").read_text()


class Submission(Relayd):
    """With a listener for logins, and users from a file."""

    def __init__(self, directory, extra="", **options):
        self.submission = ports.free()
        self.users = directory / "passwd" / "users"
        self.users.parent.mkdir(parents=True)
        self.users.parent.chmod(0o755)
        self.write_users(f"{USER}:{{PLAIN}}{PASSWORD}")
        self.sources = f"accounts {{ file {self.users} }}"
        self.more = extra
        super().__init__(directory, routes="route default hold", **options)
        directory.chmod(0o755)

    def write_users(self, *lines):
        fresh = self.users.with_suffix(".new")
        fresh.write_text("\n".join(lines) + "\n")
        fresh.chmod(0o644)
        os.replace(fresh, self.users)

    def config(self):
        return (
            super().config()
            + f"listen 127.0.0.1:{self.submission} {{ role submission; tls none }}\n"
            + f"{self.sources}\n{self.more}\n"
        )

    def pids(self, title):
        return [pid for pid in descendants(self.process.pid) if name_of(pid) == title]

    def pid(self, title):
        [pid] = wait.until(lambda: self.pids(title), lambda: f"one {title}\n{self.log}")
        return pid

    def ready_count(self, name):
        return len(re.findall(rf"{name}\[\d+\] is ready", self.log))

    def wait_ready(self, name, count):
        wait.until(lambda: self.ready_count(name) >= count, lambda: f"{name} ready {count} times\n{self.log}", 40)

    def login(self, password=PASSWORD, user=USER):
        """The reply's code."""
        with smtplib.SMTP("127.0.0.1", self.submission, timeout=30) as client:
            try:
                return client.login(user, password)[0]
            except smtplib.SMTPAuthenticationError as error:
                return error.smtp_code

    def submit(self):
        with smtplib.SMTP("127.0.0.1", self.submission, timeout=30) as client:
            client.login(USER, PASSWORD)
            client.sendmail(USER, ["b@dest.test"], "Subject: hello\r\n\r\nhello\r\n")


@pytest.fixture
def daemon(bench):
    def make(**options):
        relayd = Submission(bench.folder / f"children{len(bench.relayds)}", **options)
        bench.relayds.append(relayd)
        relayd.start()
        for name in ("engine", "accounts"):  # to be killed before that is to be another death
            relayd.wait_ready(name, 1)
        return relayd

    return make


def status_of(pid):
    with open(f"/proc/{pid}/status") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def targets_of(pid):
    return [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]


@pytest.mark.asan
def test_a_login_passes_through_the_processes(daemon):
    relayd = daemon()
    assert relayd.login() == 235
    assert relayd.login("wrong") == 535
    relayd.submit()
    assert len(relayd.queue_ids()) == 1


@pytest.mark.skipif(os.getuid() != 0, reason="not root")
def test_it_is_a_user_of_its_own(daemon):
    relayd = daemon()
    pid = relayd.pid(ACCOUNTS)
    user = pwd.getpwnam(ACCOUNTS_USER)
    status = status_of(pid)
    assert status["Uid"].split() == [str(user.pw_uid)] * 4
    assert status["Groups"].split() == []
    assert int(status["CapPrm"], 16) == 0
    folder = relayd.state / "accounts"
    assert folder.stat().st_uid == user.pw_uid
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert status_of(relayd.pid("relayd: engine"))["Uid"] != status["Uid"]


@pytest.mark.skipif(SANITIZED, reason="sanitizers go without a sandbox")
def test_it_is_confined(daemon):
    relayd = daemon()
    relayd.wait_log("sandboxed by seccomp")
    status = status_of(relayd.pid(ACCOUNTS))
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    assert relayd.login() == 235
    # no listening socket of ours is there, nor the queue
    targets = targets_of(relayd.pid(ACCOUNTS))
    assert not any(str(relayd.state / "queue") in target for target in targets)
    with open("/proc/net/tcp") as f:
        inodes = {line.split()[9] for line in f.readlines()[1:] if line.split()[3] == "0A"}
    assert not any(f"socket:[{inode}]" in targets for inode in inodes)


def test_a_file_of_users_is_read_again_inside_the_sandbox(daemon):
    relayd = daemon()
    assert relayd.login("another") == 535
    relayd.write_users(f"{USER}:{{PLAIN}}another")
    wait.until(lambda: relayd.login("another") == 235, lambda: f"the new password\n{relayd.log}", 20)


def test_another_folder_needs_another_process(daemon):
    """A sandbox has no way out."""
    relayd = daemon()
    before = relayd.pid(ACCOUNTS)
    elsewhere = relayd.directory / "elsewhere" / "users"
    elsewhere.parent.mkdir()
    elsewhere.parent.chmod(0o755)
    elsewhere.write_text("bob@here.test:{PLAIN}battery staple\n")
    elsewhere.chmod(0o644)
    relayd.write_config(sources=f"accounts {{ file {elsewhere} }}")
    relayd.ctl("reload")
    relayd.wait_ready("accounts", 2)
    assert relayd.pid(ACCOUNTS) != before
    assert relayd.login("battery staple", "bob@here.test") == 235
    assert "ended by signal" not in relayd.log and "exit code" not in relayd.log


def test_programs_run_without_it(daemon):
    relayd = daemon()
    program = relayd.directory / "passwd" / "check"
    program.write_text('#!/bin/sh\nIFS= read -r input <&3\ncase "$input" in carol*magic*) exit 0;; esac\nexit 1\n')
    program.chmod(0o755)
    relayd.write_config(sources=f"accounts {{ command {program} }}")
    relayd.ctl("reload")
    relayd.wait_ready("accounts", 2)
    assert SANITIZED or "no sandbox: other programs are run" in relayd.log
    wait.until(lambda: relayd.login("no such", "carol@here.test") == 535, lambda: f"a verdict\n{relayd.log}")


def test_a_reload_starts_and_stops_it(daemon):
    relayd = daemon()
    engine = relayd.pid("relayd: engine")
    plain = Relayd.config(relayd)
    with_logins = relayd.file.read_text()
    relayd.file.write_text(plain)
    relayd.ctl("reload")
    wait.until(lambda: not relayd.pids(ACCOUNTS), lambda: f"no accounts process\n{relayd.log}")
    assert "accounts is not needed any more" in relayd.log
    relayd.file.write_text(with_logins)
    relayd.ctl("reload")
    relayd.wait_ready("accounts", 2)
    assert relayd.login() == 235
    assert relayd.pid("relayd: engine") == engine


# ---- death


class Logins:
    """Threads that log in again and again."""

    def __init__(self, relayd, threads=4):
        self.relayd, self.over = relayd, False
        self.codes, self.broken = [], []
        self.threads = [threading.Thread(target=self._work) for _ in range(threads)]

    def _work(self):
        while not self.over:
            try:
                self.codes.append(self.relayd.login())
            except (OSError, smtplib.SMTPException) as error:
                self.broken.append(error)
            time.sleep(0.02)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over = True
        for thread in self.threads:
            thread.join()


@pytest.mark.asan
def test_1_killed_under_load(daemon):
    """Nobody is refused for good: right, or try again later."""
    relayd = daemon()
    engine = relayd.pid("relayd: engine")
    with Logins(relayd) as logins:
        for round in range(3):
            pid = relayd.pid(ACCOUNTS)
            wait.until(lambda: len(logins.codes) > 10 * (round + 1), "some logins")
            os.kill(pid, signal.SIGKILL)
            gone([pid])
            relayd.wait_ready("accounts", round + 2)
    assert relayd.pid("relayd: engine") == engine
    assert set(logins.codes) <= {235, 454} and 235 in logins.codes, logins.codes
    assert not logins.broken
    assert relayd.login() == 235


def test_engine_killed_and_linked_anew(daemon):
    relayd = daemon()
    accounts = relayd.pid(ACCOUNTS)
    for round in range(2):
        os.kill(relayd.pid("relayd: engine"), signal.SIGKILL)
        relayd.wait_ready("engine", round + 2)
        assert relayd.login() == 235
    assert relayd.pid(ACCOUNTS) == accounts


def test_45_crash_loop_leaves_the_others_alone(daemon):
    """It backs off; mail that needs no login flows meanwhile."""
    relayd = daemon()
    engine = relayd.pid("relayd: engine")
    for deaths in (1, 2, 3):
        os.kill(relayd.pid(ACCOUNTS), signal.SIGABRT)
        if deaths < 3:
            relayd.wait_ready("accounts", deaths + 1)
    relayd.wait_log("accounts starts again in 2 s")
    with smtplib.SMTP("127.0.0.1", relayd.port, timeout=5) as client:
        client.sendmail("a@client.test", ["b@dest.test"], "Subject: x\r\n\r\nx\r\n")
    assert len(relayd.queue_ids()) == 1
    assert re.findall(r"accounts starts again in (\d+) s", relayd.log) == ["1", "2"]
    assert relayd.pid("relayd: engine") == engine
    relayd.wait_ready("accounts", 4)
    assert relayd.login() == 235


def test_no_process_outlives_the_parent(daemon):
    relayd = daemon()
    pids = descendants(relayd.process.pid)
    assert len(pids) >= 2
    relayd.process.kill(signal.SIGKILL)
    gone(pids, timeout=2)
    relayd.process.popen.wait()
    relayd.process = None
    relayd.start()
    assert relayd.login() == 235


def test_stops_with_all_it_started(daemon):
    relayd = daemon()
    pids = descendants(relayd.process.pid)
    assert relayd.process.stop(20, signal.SIGTERM) == 0
    assert not any(alive(pid) for pid in pids)
    assert "exit code" not in relayd.log and "signal" not in relayd.log


def test_a_hung_one_does_not_hold_up_the_stop(daemon):
    relayd = daemon()
    os.kill(relayd.pid(ACCOUNTS), signal.SIGSTOP)
    began = time.monotonic()
    relayd.process.kill(signal.SIGTERM)
    assert relayd.process.popen.wait(20) == 0
    assert time.monotonic() - began < 10
    relayd.wait_log(r"accounts\[\d+\] did not end in time and is killed")


def test_61_a_hung_one_does_not_hang_the_engine(daemon):
    """Logins wait and then are told to come back; others are served at once."""
    relayd = daemon()
    os.kill(relayd.pid(ACCOUNTS), signal.SIGSTOP)
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", relayd.port), 5) as client:
        assert client.recv(100).startswith(b"220")
    with smtplib.SMTP("127.0.0.1", relayd.port, timeout=5) as client:
        client.sendmail("a@client.test", ["b@dest.test"], "Subject: x\r\n\r\nx\r\n")
    assert time.monotonic() - began < 5
    os.kill(relayd.pid(ACCOUNTS), signal.SIGCONT)
    assert relayd.login() == 235
