"""Starting, stopping, dying and reloading, with mail under way."""

import os
import re
import shutil
import signal
import subprocess

import pytest

from lab import RELAYD, mail, wait
from lab.client import Client, send
from lab.process import descendants, gone, name_of
from lab.relayd import Relayd
from lab.sink import HANG, Slow

EX_CONFIG = 78


def post(daemon, recipients="b@dest.test", content=None):
    reply = send(daemon.port, "a@client.test", recipients, content or mail.message())
    assert reply.code == 250, reply
    return reply.queue_id


@pytest.mark.asan
def test_a_restart_keeps_the_queue(lab):
    sink = lab.sink()
    sink.stop()
    daemon = lab.relay_to(sink)
    contents = [mail.message(subject=f"m{n}", body=mail.big_body(20_000 * n + 10, seed=n)) for n in range(15)]
    ids = [post(daemon, content=c) for c in contents]
    daemon.restart()
    assert sorted(daemon.queue_ids()) == sorted(ids)
    sink.start()
    sink.wait(15, timeout=30)
    assert sorted(mail.after_trace(m.content) for m in sink.messages) == sorted(contents)


@pytest.mark.parametrize("victim", ["parent", "engine"])
def test_1_killed_and_nothing_lost(lab, victim):
    sink = lab.sink()
    sink.stop()
    daemon = lab.relay_to(sink)
    ids = [post(daemon, f"b{n}@dest.test") for n in range(20)]
    if victim == "parent":
        daemon.crash()
        daemon.start()
    else:
        old = daemon.engine()
        os.kill(old, signal.SIGKILL)
        wait.until(lambda: daemon.engine() not in (None, old), "a new engine")
    sink.start()
    sink.wait(20, timeout=30)
    assert sorted(r for m in sink.messages for r in m.recipients) == sorted(f"b{n}@dest.test" for n in range(20))
    assert len(ids) == 20


def test_clients_wait_while_the_engine_comes_back(relay):
    """The parent keeps the listening sockets: nobody is refused."""
    daemon, sink = relay
    for n in range(5):
        os.kill(daemon.engine(), signal.SIGKILL)
        post(daemon, f"b{n}@dest.test")
    sink.wait(5)


def test_no_child_outlives_the_parent(relay):
    daemon, _ = relay
    children = descendants(daemon.process.pid)
    assert children
    daemon.crash()
    gone(children)


def test_the_processes_are_named(relay):
    daemon, _ = relay
    assert any(re.search(r"relayd.*engine", name) for name in daemon.children()), daemon.children()
    assert "relayd" in name_of(daemon.process.pid)


def test_55_sigterm_drains(lab):
    sink = lab.sink()
    sink.on("eod", Slow(1.5, "250 2.0.0 at last"))
    daemon = lab.relay_to(sink)
    with Client(daemon.port) as idle:
        idle.ehlo()
        post(daemon)
        wait.until(lambda: sink.seen, "a delivery under way")
        daemon.process.kill(signal.SIGTERM)
        assert idle.reply().code == 421
    daemon.process.popen.wait(20)  # a second signal would stop it at once
    daemon.stop()
    assert len(sink.messages) == 1
    # Finished means finished: it is not sent again.
    daemon.start()
    assert daemon.queue() == []


def test_55_sigterm_does_not_wait_for_ever(lab):
    sink = lab.sink()
    sink.on("data", HANG)
    daemon = lab.relay_to(sink)
    queue_id = post(daemon)
    wait.until(lambda: sink.hanging, "a delivery that hangs")
    daemon.stop(timeout=35)
    daemon.start()
    assert queue_id in daemon.queue_ids()


def test_22_a_second_instance_is_refused_and_the_first_unharmed(relay):
    daemon, sink = relay
    second = subprocess.run([RELAYD, "-c", daemon.file], capture_output=True, text=True, timeout=30)
    assert second.returncode != 0
    assert second.stderr.strip()
    post(daemon)
    sink.wait(1)


def test_44_sighup_reloads_under_load(relay):
    daemon, sink = relay
    with Client(daemon.port) as client:
        client.ehlo()
        for n in range(40):
            daemon.process.kill(signal.SIGHUP)
            assert client.transaction("a@client.test", f"b{n}@dest.test", mail.message()).code == 250
    sink.wait(40, timeout=30)


def test_a_reload_adds_and_closes_listeners(relay):
    daemon, _ = relay
    from lab import ports

    extra, port = daemon.extra, ports.free()
    daemon.write_config(extra=f"{extra}\nlisten 127.0.0.1:{port}")
    daemon.ctl("reload")
    assert send(port, "a@client.test", "b@dest.test", mail.message()).code == 250
    daemon.write_config(extra=extra)
    daemon.ctl("reload")

    def refused():
        try:
            Client(port).close()
            return False
        except (ConnectionRefusedError, EOFError, ConnectionResetError):
            return True

    wait.until(refused, "the listener is closed")


def test_version_and_check():
    from lab import relayd

    if relayd.available():
        pytest.skip(relayd.available())
    done = subprocess.run([RELAYD, "--version"], capture_output=True, text=True, timeout=10)
    assert done.returncode == 0
    assert re.search(r"relayd \d+\.\d+", done.stdout)


@pytest.mark.parametrize(
    "text, code, said",
    [
        ("hostname a.example\nlisten 127.0.0.1:2525\n", 0, None),
        ("hostnme a.example\n", EX_CONFIG, r":1:1: .*hostnme(.|\n)*hostname"),
        ("hostname a.example\nlisten 127.0.0.1:99999\n", EX_CONFIG, r":2:8: "),
        ("hostname a.example\ndomain x.example {\n", EX_CONFIG, r":2:"),
        ("hostname a.example\nhostname b.example\n", EX_CONFIG, r":2:1: "),
        ("hostname a.example\nlisten 127.0.0.1:1143 { role imap }\n", EX_CONFIG, "not in this release"),
        ("hostname a.example\nroute default via nowhere\n", EX_CONFIG, "nowhere"),
        ("hostname a.example\nretry { first 1 parsec }\n", EX_CONFIG, r":2:"),
    ],
)
def test_dash_n_checks_the_configuration(lab, text, code, said):
    file = lab.folder / "x.conf"
    file.write_text(text)
    done = subprocess.run([RELAYD, "-c", file, "-n"], capture_output=True, text=True, timeout=10)
    assert done.returncode == code, done.stderr
    if said:
        assert re.search(said, done.stderr), done.stderr


def test_it_does_not_start_with_a_broken_configuration(lab):
    file = lab.folder / "x.conf"
    file.write_text("nonsense\n")
    done = subprocess.run([RELAYD, "-c", file], capture_output=True, text=True, timeout=10)
    assert done.returncode == EX_CONFIG
    assert "x.conf:1:1:" in done.stderr


def test_it_runs_without_root(lab):
    if os.getuid() != 0:
        pytest.skip("this whole run is without root")
    if shutil.which("setpriv") is None:
        pytest.skip("no setpriv")
    sink = lab.sink()
    daemon = Relayd(
        lab.folder / "plain",
        extra=f"smarthost sink {{ host 127.0.0.1:{sink.port}; tls none }}",
        routes="route default via sink",
    )
    daemon.file.write_text("".join(l for l in daemon.config().splitlines(True) if not l.startswith("users")))
    shutil.chown(daemon.directory, "nobody", "nogroup")
    from lab import client
    from lab.process import Process

    command = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", RELAYD, "-c", daemon.file]
    probe = subprocess.run(command + ["-n"], capture_output=True, timeout=10)
    if probe.returncode == 127 or b"Permission denied" in probe.stderr:
        pytest.skip("the build folder can't be read by others")
    process = Process("relayd", command)
    try:
        process.wait_for(lambda: daemon._greets(), "greets")
        assert client.send(daemon.port, "a@client.test", "b@dest.test", mail.message()).code == 250
        sink.wait(1)
        for pid in [process.pid, *descendants(process.pid)]:
            assert os.stat(f"/proc/{pid}").st_uid != 0
    finally:
        assert process.stop(30) == 0, process.log


def test_as_root_the_engine_is_somebody_else(relay):
    if os.getuid() != 0:
        pytest.skip("needs root")
    daemon, _ = relay
    assert os.stat(f"/proc/{daemon.engine()}").st_uid != 0
