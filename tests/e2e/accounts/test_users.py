"""relayctl user and bans: with the daemon up and down, and what they say when it can't be done."""

import os
import pty
import select
import subprocess

import pytest

from lab import RELAYCTL, wait
from lab.submit import attempt

SUBMISSION = "role submission; tls none"


@pytest.fixture
def daemon(lab):
    return lab.relayd(start=False, listen=SUBMISSION, trusted=None)


def add(daemon, user, password="secret", *options):
    daemon.ctl("user", "add", user, "--password-stdin", *options, input=password + "\n")


def names(daemon):
    return [u["user"] for u in daemon.json("user", "list")["users"]]


def show(daemon, user):
    return daemon.json("user", "show", user)["rows"][0]


@pytest.mark.parametrize("running", [False, True], ids=["down", "up"])
def test_life_of_a_user(daemon, running):
    if running:
        daemon.start()
    assert names(daemon) == []
    assert "There are no users" in daemon.ctl("user", "list").stdout
    add(daemon, "Joe@Example.COM", "secret", "--senders", "own, example.org", "--messages-per-hour", "7")
    add(daemon, "ann@example.com")
    assert names(daemon) == ["ann@example.com", "Joe@example.com"]
    joe = show(daemon, "joe@example.com")
    assert joe["senders"] == ["own", "example.org"]
    assert joe["messages_per_hour"] == 7 and joe["recipients_per_hour"] == "default"
    assert joe["password"] is True and joe["scram"] is True and joe["disabled"] is False
    daemon.ctl("user", "set", "joe@example.com", "--senders", "any", "--services", "smtp")
    daemon.ctl("user", "disable", "joe@example.com")
    joe = show(daemon, "joe@example.com")
    assert joe["senders"] == ["any"] and joe["services"] == "smtp" and joe["disabled"] is True
    assert "disabled" in daemon.ctl("user", "list").stdout
    daemon.ctl("user", "enable", "joe@example.com")
    daemon.ctl("user", "delete", "ann@example.com")
    assert names(daemon) == ["Joe@example.com"]
    if running:
        daemon.stop()
    else:
        daemon.start()
    assert names(daemon) == ["Joe@example.com"]


@pytest.mark.parametrize("running", [False, True], ids=["down", "up"])
def test_refusals(daemon, running):
    if running:
        daemon.start()
    add(daemon, "joe@example.com")

    def code(*args, input=""):
        done = daemon.ctl(*args, check=False, input=input)
        assert done.stderr.strip() != "" or done.returncode == 0
        return done.returncode

    assert code("user", "add", "joe@example.com", "--password-stdin", input="x\n") == os.EX_DATAERR
    assert code("user", "add", "not an address", "--password-stdin", input="x\n") == os.EX_USAGE
    assert code("user", "add", "new@example.com", "--password-stdin", input="") == os.EX_DATAERR
    assert code("user", "add", "new@example.com", "--password-stdin", input="\n") == os.EX_USAGE
    assert code("user", "add", "new@example.com", "--no-password", "--senders", "*@x") == os.EX_USAGE
    assert code("user", "show", "nobody@example.com") == os.EX_NOINPUT
    assert code("user", "delete", "nobody@example.com") == os.EX_NOINPUT
    assert code("user", "set", "joe@example.com") == os.EX_USAGE
    assert code("user", "show", "joe@example.com", "--senders", "any") == os.EX_USAGE
    assert code("user", "frobnicate", "joe@example.com") == os.EX_USAGE
    assert code("user", "show") == os.EX_USAGE
    assert code("queue", "--password-stdin") == os.EX_USAGE
    assert names(daemon) == ["joe@example.com"]


def test_application_passwords(daemon):
    daemon.start()
    add(daemon, "joe@example.com")
    password = daemon.ctl("user", "app-password", "joe@example.com", "add", "my phone").stdout.strip()
    assert len(password) == 24
    assert attempt(daemon.port, "plain", "joe@example.com", password)[0] == 235
    assert attempt(daemon.port, "login", "joe@example.com", password.replace("-", ""))[0] == 235
    assert attempt(daemon.port, "plain", "joe@example.com", "secret")[0] == 235
    assert daemon.ctl("user", "app-password", "joe@example.com", "add", "my phone", check=False).returncode == os.EX_DATAERR
    daemon.ctl("user", "app-password", "joe@example.com", "delete", "my phone")
    assert attempt(daemon.port, "plain", "joe@example.com", password)[0] == 535
    done = daemon.ctl("user", "app-password", "joe@example.com", "delete", "my phone", check=False)
    assert done.returncode == os.EX_NOINPUT
    assert password not in daemon.log and "secret" not in daemon.log


def test_when_last_used_is_kept(daemon):
    daemon.start()
    add(daemon, "joe@example.com")
    assert "last_login" not in show(daemon, "joe@example.com")
    assert attempt(daemon.port, "plain", "joe@example.com", "secret")[0] == 235
    daemon.stop()  # what waited to be written is
    assert show(daemon, "joe@example.com")["last_login_ms"] > 0


def test_password_at_a_terminal(daemon):
    """Asked twice, without an echo."""
    main, side = pty.openpty()
    process = subprocess.Popen(
        [RELAYCTL, "-c", daemon.file, "user", "add", "joe@example.com"],
        stdin=side, stdout=side, stderr=side, start_new_session=True,
        preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0),
    )
    os.close(side)
    seen = b""

    def read_until(word):
        nonlocal seen

        def more():
            nonlocal seen
            if select.select([main], [], [], 0.05)[0]:
                try:
                    seen += os.read(main, 4096)
                except OSError:
                    return True
            return word in seen

        wait.until(more, lambda: f"{word}: {seen}", 10)

    read_until(b"New password for joe@example.com:")
    os.write(main, b"hush-hush\n")
    read_until(b"Once more")
    os.write(main, b"hush-hush\n")
    read_until(b"added")
    assert process.wait(10) == 0
    os.close(main)
    assert b"hush" not in seen
    daemon.start()
    assert attempt(daemon.port, "plain", "joe@example.com", "hush-hush")[0] == 235


def test_without_a_listener_for_logins(lab):
    """A daemon that has no accounts process: the store is free, and is used."""
    daemon = lab.relayd()
    add(daemon, "joe@example.com")
    assert names(daemon) == ["joe@example.com"]
    assert daemon.ctl("bans", check=False).returncode == os.EX_UNAVAILABLE


def test_bans(daemon):
    daemon.start()
    add(daemon, "joe@example.com")
    assert "No failed logins" in daemon.ctl("bans").stdout
    assert attempt(daemon.port, "plain", "joe@example.com", "wrong")[0] == 535
    rows = daemon.json("bans", "list")["rows"]
    assert {"client": "127.0.0.1", "failures": 1, "refused": False, "refused_for_ms": 0} in rows
    assert {r.get("user") for r in rows} == {None, "joe@example.com"}
    daemon.ctl("bans", "lift", "127.0.0.1")
    daemon.ctl("bans", "lift", "joe@example.com")
    assert daemon.json("bans")["rows"] == []
    assert daemon.ctl("bans", "lift", "joe@example.com", check=False).returncode == os.EX_NOINPUT
    assert daemon.ctl("bans", "raise", check=False).returncode == os.EX_USAGE
