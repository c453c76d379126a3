"""Keys and passwords are where they are needed, and nowhere else: the memory of each process
is searched for them. Sign workers that die, all of them or one again and again, while mail
goes on."""

import base64
import os
import pwd
import re
import signal
import smtplib
import subprocess
import threading
import time

import pytest

from lab import RELAYD, mail, wait
from lab.client import send
from lab.process import descendants, gone, name_of
from lab.relayd import SIGN_USER, understands

pytestmark = [
    pytest.mark.skipif(not os.access(RELAYD, os.X_OK), reason=f"not built: {RELAYD}"),
    pytest.mark.skipif(not understands("domain example.test { dkim auto }"), reason="nothing is signed yet"),
]

SIGN, ENGINE = "relayd: sign", "relayd: engine"
SANITIZED = "-fsanitize=" in (RELAYD.parents[1] / "build.ninja").read_text()
FROM = "me@example.test"


def pids_of(daemon, title):
    return [pid for pid in descendants(daemon.process.pid) if name_of(pid) == title]


def wait_workers(daemon, count=2):
    return wait.until(
        lambda: pids if len(pids := pids_of(daemon, SIGN)) >= count else None, lambda: f"{count} workers\n{daemon.log}"
    )


def status_of(pid):
    with open(f"/proc/{pid}/status") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def memory_holds(pid, needle):
    """In what a process can write: heap, stacks, data."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            span, rights, rest = line.split(None, 2)
            start, end = (int(x, 16) for x in span.split("-"))
            if not rights.startswith("rw") or "/" in rest or end - start > 64 << 20:
                continue
            try:
                memory.seek(start)
                if needle in memory.read(end - start):
                    return True
            except OSError:
                continue  # a guard page, or gone meanwhile
    return False


def files_hold(pid, needle):
    """In memory files that it was handed and still has open."""
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            if "memfd:" in os.readlink(f"/proc/{pid}/fd/{fd}"):
                with open(f"/proc/{pid}/fd/{fd}", "rb") as f:
                    if needle in f.read():
                        return True
        except OSError:
            continue
    return False


def knows(pid, needle):
    return memory_holds(pid, needle) or files_hold(pid, needle)


def make_key(path):
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", path],
        check=True,
        capture_output=True,
    )
    path.chmod(0o600)
    return path.read_bytes().splitlines()[8]  # from the middle of it


def signing(lab, domain="domain example.test { dkim auto }", extra="", **options):
    sink = lab.sink()
    daemon = lab.relay_to(
        sink,
        extra=f"{domain}\n{extra}",
        **options,
    )
    return daemon, sink


def post(daemon, number=0):
    reply = send(daemon.port, FROM, ["b@dest.test"], mail.message(sender=FROM, body=f"message {number}\r\n"))
    assert reply.code == 250, reply


def signature_count(content):
    return len(re.findall(rb"^DKIM-Signature:", content.partition(b"\r\n\r\n")[0], re.MULTILINE))


@pytest.mark.skipif(os.getuid() != 0 or SANITIZED, reason="not root, or memory that is not given back")
def test_the_private_key_is_with_the_sign_workers_alone(lab, folder):
    key = folder / "dkim.pem"
    middle = make_key(key)
    daemon, sink = signing(lab, f"domain example.test {{ dkim selector s1 key_file {key} }}")
    workers = wait_workers(daemon)
    post(daemon)
    sink.wait(1)
    der = base64.b64decode(middle + b"=" * (-len(middle) % 4))
    assert all(knows(pid, middle) or knows(pid, der) for pid in workers), "or this test sees nothing"
    [engine] = pids_of(daemon, ENGINE)
    assert not knows(engine, middle) and not knows(engine, der)


@pytest.mark.skipif(os.getuid() != 0 or SANITIZED, reason="not root, or memory that is not given back")
def test_a_smart_hosts_password_is_with_the_engine_alone(lab):
    secret = "xyzzy" + base64.b32encode(os.urandom(15)).decode()
    daemon, sink = signing(
        lab,
        extra=f"smarthost other {{ host 127.0.0.1:9; tls required; user me; password {secret} }}",
    )
    workers = wait_workers(daemon)
    [engine] = pids_of(daemon, ENGINE)
    assert knows(engine, secret.encode()), "or this test sees nothing"
    assert not any(knows(pid, secret.encode()) for pid in workers)
    assert secret not in daemon.log


@pytest.mark.skipif(SANITIZED, reason="sanitizers go without a sandbox")
def test_sign_workers_are_confined(lab):
    daemon, sink = signing(lab)
    for pid in wait_workers(daemon):
        wait.until(lambda: status_of(pid)["Seccomp"] == "2", lambda: f"a sandbox\n{daemon.log}")
        status = status_of(pid)
        assert status["NoNewPrivs"] == "1"
        if os.getuid() == 0:
            assert status["Uid"].split() == [str(pwd.getpwnam(SIGN_USER).pw_uid)] * 4
            assert int(status["CapPrm"], 16) == 0


@pytest.mark.asan
def test_1_workers_killed_under_load(lab):
    """Retries cost time, and nothing else."""
    daemon, sink = signing(lab)
    wait_workers(daemon)
    over, sent = threading.Event(), []

    def work(number):
        while not over.is_set():
            post(daemon, f"{number}-{len(sent)}")
            sent.append(number)
            time.sleep(0.02)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for round in range(6):
        workers = wait_workers(daemon)
        wait.until(lambda: len(sent) > 15 * (round + 1), "some messages")
        os.kill(workers[round % 2], signal.SIGKILL)
        gone([workers[round % 2]])
    over.set()
    for thread in threads:
        thread.join()
    sink.wait(len(sent), timeout=90)
    daemon.wait_empty(60)
    assert len(sink.messages) == len(sent)
    assert all(signature_count(got.content) == 2 for got in sink.messages)


def test_45_crash_loop_of_one_worker(lab):
    """It backs off; the other signs on."""
    daemon, sink = signing(lab)
    wait_workers(daemon)
    for round in range(3):
        pid = wait.until(
            lambda: re.findall(r"sign/1\[(\d+)\] is ready", daemon.log)[round:], lambda: f"sign/1\n{daemon.log}"
        )
        os.kill(int(pid[0]), signal.SIGABRT)
        gone([int(pid[0])])
    daemon.wait_log(r"sign/1 starts again in 2 s")
    began = time.monotonic()
    for number in range(5):
        post(daemon, number)
    sink.wait(5)
    assert time.monotonic() - began < 10 * wait.FACTOR
    assert all(signature_count(got.content) == 2 for got in sink.messages)
    assert not re.search(r"sign/2 starts again", daemon.log)
    daemon.wait_log(r"(?s)sign/1 starts again in 2 s.*sign/1\[\d+\] is ready")


def test_all_workers_stopped(lab):
    """Mail waits for them, is accepted meanwhile, and leaves signed."""
    daemon, sink = signing(lab)
    workers = wait_workers(daemon)
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    post(daemon)
    wait.never(lambda: sink.messages, "left unsigned", 1)
    with smtplib.SMTP("127.0.0.1", daemon.port, timeout=5) as client:
        client.sendmail("a@other.test", ["b@dest.test"], "Subject: x\r\n\r\nx\r\n")
    sink.wait(1)  # of a domain without keys
    for pid in workers:
        os.kill(pid, signal.SIGCONT)
    sink.wait(2)
    assert sorted(signature_count(got.content) for got in sink.messages) == [0, 2]
