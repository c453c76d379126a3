"""relayctl asks for a password: the terminal shows what is typed again, however that ends."""

import os
import pty
import signal
import subprocess
import termios

import pytest

from lab import wait
from lab.relayd import RELAYCTL

ENDING = [signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP]


def default_signals():
    """Whoever runs the tests in the background may ignore some of those that are sent here."""
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)


class Asked:
    """relayctl user add, with a terminal of its own."""

    def __init__(self, daemon, address):
        self.master, terminal = pty.openpty()
        self.process = subprocess.Popen(
            ["setsid", "--ctty", RELAYCTL, "-c", daemon.file, "user", "add", address],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            preexec_fn=default_signals,
        )
        os.close(terminal)
        os.set_blocking(self.master, False)
        self.said = b""

    def read(self):
        try:
            self.said += os.read(self.master, 4096)
        except (BlockingIOError, OSError):
            pass
        return self.said

    def wait_said(self, text):
        wait.until(lambda: text in self.read(), f"relayctl says {text}")
        self.said = self.said.partition(text)[2]

    def echo(self):
        return bool(termios.tcgetattr(self.master)[3] & termios.ECHO)

    def type(self, text):
        os.write(self.master, text)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        os.close(self.master)


@pytest.fixture
def asked(lab):
    daemon = lab.relayd()
    made = []

    def ask(address):
        made.append(Asked(daemon, address))
        made[-1].daemon = daemon
        made[-1].wait_said(b"New password for")
        assert not made[-1].echo()
        return made[-1]

    yield ask
    for one in made:
        one.close()


def state_of(pid):
    with open(f"/proc/{pid}/stat") as f:
        return f.read().rpartition(")")[2].split()[0]


def test_answered(asked):
    one = asked("me@a.test")
    one.type(b"correct horse battery\n")
    one.wait_said(b"Once more")
    assert not one.echo()
    one.type(b"correct horse battery\n")
    assert one.process.wait(30) == 0
    assert b"horse" not in one.read()
    assert one.daemon.ctl("user", "show", "me@a.test").returncode == 0


@pytest.mark.parametrize("number", ENDING)
def test_ended_by_a_signal(asked, number):
    one = asked("me@a.test")
    one.type(b"half a pass")
    if number in (signal.SIGINT, signal.SIGQUIT):
        one.type(b"\x03" if number == signal.SIGINT else b"\x1c")
    else:
        os.kill(one.process.pid, number)
    assert one.process.wait(30) == -number
    assert one.echo()
    assert one.daemon.ctl("user", "show", "me@a.test", check=False).returncode != 0


def test_stopped_and_gone_on(asked):
    one = asked("me@a.test")
    one.type(b"half a pass")
    # By hand: the kernel does not stop a process group that no shell watches.
    os.kill(one.process.pid, signal.SIGTSTP)
    one.wait_said(b"New password for")
    assert not one.echo()
    for text in b"Once more", None:
        one.type(b"correct horse battery\n")
        if text:
            one.wait_said(text)
    assert one.process.wait(30) == 0
    assert one.echo()
