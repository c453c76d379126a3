"""Logging in: mechanisms, other sources of users, deaths, guessing."""

import os
import re
import signal
import subprocess
import threading
import time

import pytest

from lab import wait
from lab.submit import Submitter, attempt

SUBMISSION = "role submission; tls none"


@pytest.fixture
def daemon(lab):
    d = lab.relayd(listen=SUBMISSION, trusted=None, limits="connections_per_client unlimited; errors 10000")
    d.ctl("user", "add", "joe@example.com", "--password-stdin", input="secret\n")
    return d


def accounts_pid(daemon):
    for name, pid in daemon.children().items():
        if "accounts" in name:
            return pid
    return None


def test_mechanisms(daemon):
    with Submitter(daemon.port) as s:
        assert s.ehlo().code == 250
        assert s.extensions["AUTH"].split() == ["SCRAM-SHA-256", "PLAIN", "LOGIN"]
    for how in ("plain", "login", "scram"):
        assert attempt(daemon.port, how, "joe@example.com", "secret")[0] == 235, how
        assert attempt(daemon.port, how, "joe@example.com", "wrong", source=f"127.0.1.{len(how)}")[0] == 535, how
        assert attempt(daemon.port, how, "nobody@example.com", "wrong", source=f"127.0.2.{len(how)}")[0] == 535, how
    assert attempt(daemon.port, "plain", "joe@example.com", "secret", "ann@example.com")[0] == 535
    with Submitter(daemon.port) as s:
        s.ehlo()
        assert s.command("AUTH CRAM-MD5").code == 504
    assert "secret" not in daemon.log


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_swaks(daemon, mechanism):
    done = subprocess.run(
        ["swaks", "--server", f"127.0.0.1:{daemon.port}", "--auth", mechanism, "--auth-user", "joe@example.com",
         "--auth-password", "secret", "--from", "joe@example.com", "--to", "x@dest.test", "--quit-after", "AUTH"],
        capture_output=True, text=True, timeout=60,
    )
    assert done.returncode == 0 and "235 " in done.stdout, done.stdout + done.stderr


def test_the_log_line_that_tools_know(daemon):
    assert attempt(daemon.port, "plain", "joe@example.com", "wrong", source="127.0.0.9")[0] == 535
    daemon.wait_log(
        r"relayd/smtpd\[\d+\]: warning: unknown\[127\.0\.0\.9\]: SASL PLAIN authentication failed: "
        r"authentication failure, sasl_username=joe@example\.com$"
    )


def test_failures_take_the_same_time(daemon):
    """Known user, unknown user, no address at all; each from a client of its own."""
    times = []
    for n, user in enumerate(["joe@example.com", "nobody@example.com", "???"]):
        code, seconds = attempt(daemon.port, "plain", user, "wrong", source=f"127.0.3.{n + 1}")
        assert code == 535
        times.append(seconds)
    assert min(times) >= 0.95
    assert max(times) - min(times) < 0.4, times


def test_killed_in_the_middle(daemon):
    """The accounts process dies: sessions live, a login begun waits for the next process."""
    with Submitter(daemon.port) as s:
        s.ehlo()
        for n in range(5):
            os.kill(accounts_pid(daemon), signal.SIGKILL)
            assert s.plain("joe@example.com", f"wrong{n}").code in (535, 454)
        daemon.wait_log(r"accounts\[\d+\] is ready")
    wait.until(lambda: attempt(daemon.port, "plain", "joe@example.com", "secret")[0] == 235, "a login")
    assert daemon.json("user", "show", "joe@example.com")["rows"][0]["scram"] is True


def test_changes_survive_kill(daemon):
    """What relayctl said was done is there after kill -9, each time."""
    for n in range(5):
        daemon.ctl("user", "add", f"u{n}@example.com", "--password-stdin", input="pw\n")
        os.kill(accounts_pid(daemon), signal.SIGKILL)
        wait.until(lambda: f"u{n}@example.com" in daemon.ctl("user", "list", check=False).stdout, "the user", 30)
    assert len(daemon.json("user", "list")["users"]) == 6
    assert attempt(daemon.port, "plain", "u4@example.com", "pw")[0] == 235


def test_file_of_another_server(lab, folder):
    users = folder / "users"
    hashed = subprocess.run(["openssl", "passwd", "-6", "-stdin"], input="gold\n", capture_output=True, text=True,
                            check=True).stdout.strip()
    users.write_text(f"ann@example.org:{{SHA512-CRYPT}}{hashed}:1000:1000::/home/ann::\nbob:{{PLAIN}}silver\n")
    users.chmod(0o644)
    daemon = lab.relayd(listen=SUBMISSION, trusted=None, extra=f"accounts {{ file {users}; domain example.net }}")
    with Submitter(daemon.port) as s:
        assert s.ehlo().code == 250
        assert s.extensions["AUTH"].split() == ["PLAIN", "LOGIN"]  # nobody there has SCRAM keys
    assert attempt(daemon.port, "plain", "ann@example.org", "gold")[0] == 235
    assert attempt(daemon.port, "plain", "bob", "silver")[0] == 235
    users.write_text("bob:{PLAIN}bronze\n")
    wait.until(lambda: attempt(daemon.port, "plain", "bob@example.net", "bronze")[0] == 235, "the new file", 20)
    assert attempt(daemon.port, "plain", "ann@example.org", "gold")[0] == 535


def test_command(lab, folder):
    script = folder / "check"
    script.write_text(
        "#!/bin/sh\ntr '\\0' '\\n' <&3 | { read user; read password; "
        'test "$user" = eve@example.net -a "$password" = right && exit 0; '
        'test "$password" = broken && exit 111; exit 1; }\n'
    )
    script.chmod(0o755)
    daemon = lab.relayd(listen=SUBMISSION, trusted=None, extra=f"accounts {{ command {script} }}")
    assert attempt(daemon.port, "plain", "eve@example.net", "right")[0] == 235
    assert attempt(daemon.port, "plain", "eve@example.net", "broken")[0] == 454
    assert attempt(daemon.port, "plain", "eve@example.net", "wrong")[0] == 535
    assert attempt(daemon.port, "plain", "tom@example.net", "right")[0] == 535


def test_a_slow_command_does_not_tell_who_exists(lab, folder):
    """Only strange names are asked of it; the others' failures take as long."""
    script, asked, users = folder / "check", folder / "asked", folder / "users"
    script.write_text(
        f"#!/bin/sh\ntr '\\0' '\\n' <&3 | {{ read user; echo \"$user\" >>{asked}; }}\nsleep 1.4\nexit 0\n"
    )
    script.chmod(0o755)
    asked.touch()
    asked.chmod(0o666)
    users.write_text("file@example.org:{PLAIN}silver\nlocked@example.org:!$6$abc$0123456789abcdef\n")
    users.chmod(0o644)
    daemon = lab.relayd(
        listen=SUBMISSION, trusted=None, extra=f"accounts {{ command {script}; file {users}; domain example.org }}"
    )
    daemon.ctl("user", "add", "joe@example.org", "--password-stdin", input="secret\n")
    # It says yes to everybody, but these it is not asked about.
    assert attempt(daemon.port, "plain", "else@example.org", "any", source="127.0.4.9")[0] == 235
    script.write_text(script.read_text().replace("exit 0", "exit 1"))
    attempt(daemon.port, "plain", "first@example.org", "wrong", source="127.0.4.10")
    times = []
    for n, user in enumerate(["joe", "file", "locked", "nobody", "???"]):
        code, seconds = attempt(daemon.port, "plain", user, "wrong", source=f"127.0.4.{n + 1}")
        assert code == 535, user
        times.append(seconds)
    assert min(times) >= 1.9 and max(times) - min(times) < 0.4, times
    assert asked.read_text().split() == ["else@example.org", "first@example.org", "nobody", "???"]


def test_the_list_says_how_many_failures_led_to_a_refusal(daemon):
    for n in range(10):
        attempt(daemon.port, "plain", f"u{n}@example.com", "wrong", source="127.0.5.1")
    row = [r for r in daemon.json("bans")["rows"] if r.get("client") == "127.0.5.1"][0]
    assert row["refused"] and int(row["failures"]) == 10, row


def refused(daemon):
    return {r["client"] for r in daemon.json("bans")["rows"] if r.get("client") and r["refused"]}


def test_52_brute_force(daemon):
    """A hundred connections that guess as fast as they are let: good logins take less than two
    seconds all the while, known there or not, and the guessers are refused."""
    over = threading.Event()
    codes = []

    def guess(number):
        while not over.is_set():
            try:
                with Submitter(daemon.port, source=f"127.0.9.{number % 10 + 1}") as s:
                    s.ehlo()
                    while not over.is_set():
                        codes.append(s.plain(f"user{number}@example.com", f"guess{time.monotonic()}").code)
            except (OSError, EOFError):
                pass

    guessers = [threading.Thread(target=guess, args=(n,)) for n in range(100)]
    for g in guessers:
        g.start()
    try:
        wait.until(lambda: 535 in codes, "the first guesses are answered", 30)
        slowest = 0.0
        for n in range(20):
            code, seconds = attempt(daemon.port, "plain", "joe@example.com", "secret", source=f"127.0.8.{n + 1}")
            assert code == 235
            slowest = max(slowest, seconds)
            code, seconds = attempt(daemon.port, "scram", "joe@example.com", "secret", source=f"127.0.7.{n + 1}")
            assert code == 235
            slowest = max(slowest, seconds)
        everyone = {f"127.0.9.{n + 1}" for n in range(10)}
        wait.until(lambda: refused(daemon) >= everyone, lambda: f"refused: {refused(daemon)} of {everyone}", 60)
        wait.until(lambda: 454 in codes or 421 in codes, lambda: f"refused: {set(codes)}", 30)
        assert slowest < 2 * wait.FACTOR, slowest
        print(f"slowest good login {slowest:.3f} s among {len(codes)} guesses")
    finally:
        over.set()
        for g in guessers:
            g.join()


def test_52_nobody_is_locked_out_by_others(daemon):
    """Guessing at joe from elsewhere does not keep joe from where he always is."""
    home = "127.0.6.1"
    assert attempt(daemon.port, "plain", "joe@example.com", "secret", source=home)[0] == 235
    threads = [
        threading.Thread(target=attempt, args=(daemon.port, "plain", "joe@example.com", f"no{n}"),
                         kwargs={"source": f"127.0.5.{n + 1}"})
        for n in range(40)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert attempt(daemon.port, "plain", "joe@example.com", "secret", source="127.0.5.250")[0] in (454, 421)
    assert attempt(daemon.port, "plain", "joe@example.com", "secret", source=home)[0] == 235
    daemon.ctl("bans", "lift", "joe@example.com")
    assert attempt(daemon.port, "plain", "joe@example.com", "secret", source="127.0.5.250")[0] == 235
