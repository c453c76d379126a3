"""The tree of processes: born, killed, reloaded, stopped; and what it says."""

import fcntl
import os
import random
import pwd
import re
import signal
import socket
import stat
import subprocess
import threading
import time

import pytest

from lab import RELAYD, mail, ports, wait
from lab.client import Client
from lab.process import Process, alive, descendants, gone, name_of
from lab.relayd import ENGINE_USER, Relayd

pytestmark = pytest.mark.skipif(not os.access(RELAYD, os.X_OK), reason=f"not built: {RELAYD}")


class Tree(Relayd):
    """relayd, up when the parent says that its engine is."""

    def _greets(self):
        return "is ready" in self.process.log

    def engine(self):
        """Its pid, once it is there under its own name."""
        return wait.until(
            lambda: next((p for p in descendants(self.process.pid) if name_of(p) == "relayd: engine"), None),
            lambda: f"an engine\n{self.log}",
        )

    def ready_count(self):
        return len(re.findall(r"engine\[\d+\] is ready", self.log))

    def reload(self):
        """SIGHUP, and the verdict: True when the new configuration is in force."""
        pattern = r"the new configuration is in force|the old configuration stays in force"
        before = len(re.findall(pattern, self.log))
        self.process.kill(signal.SIGHUP)
        wait.until(lambda: len(re.findall(pattern, self.log)) > before, lambda: f"a verdict\n{self.log}")
        return re.findall(pattern, self.log)[before].startswith("the new")


@pytest.fixture
def tree(bench):
    def make(start=True, name=None, **options):
        daemon = Tree(bench.folder / (name or f"tree{len(bench.relayds)}"), **options)
        bench.relayds.append(daemon)
        return daemon.start() if start else daemon

    return make


def run(*args, timeout=30):
    return subprocess.run([RELAYD, *map(str, args)], capture_output=True, text=True, timeout=timeout)


def connects(port, host="127.0.0.1"):
    try:
        socket.create_connection((host, port), 2).close()
        return True
    except OSError:
        return False


class Callers:
    """Threads that connect again and again and remember who was refused."""

    def __init__(self, port, threads=4):
        self.port, self.calls, self.refused, self.over = port, 0, [], False
        self.threads = [threading.Thread(target=self._call) for _ in range(threads)]

    def _call(self):
        while not self.over:
            try:
                socket.create_connection(("127.0.0.1", self.port), 10).close()
                self.calls += 1
            except OSError as error:
                self.refused.append(error)
            time.sleep(0.02)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over = True
        for thread in self.threads:
            thread.join()


# ---- command line


def test_version_and_help():
    done = run("--version")
    assert done.returncode == 0 and re.fullmatch(r"relayd \d+\.\d+\.\d+\n", done.stdout)
    done = run("--help")
    assert done.returncode == 0 and done.stdout.startswith("usage: relayd ")


@pytest.mark.parametrize("args", [["-x"], ["-c"], ["--nonsense"], ["surplus"], ["-n", "surplus"]])
def test_wrong_usage(args):
    done = run(*args)
    assert done.returncode == 64
    assert "usage: relayd" in done.stderr


def test_check_of_a_good_configuration(tree):
    daemon = tree(start=False)
    done = run("-n", "-c", daemon.file)
    assert done.returncode == 0, done.stderr
    assert not daemon.state.exists(), "a check makes nothing"


@pytest.mark.parametrize("flags", [["-n"], []])
def test_43_broken_configuration(tree, flags):
    daemon = tree(start=False, extra="mesage_size 20M")
    line = daemon.file.read_text().splitlines().index("mesage_size 20M") + 1
    done = run(*flags, "-c", daemon.file)
    assert done.returncode == 78
    assert f"{daemon.file}:{line}:1: " in done.stderr
    assert not daemon.state.exists()


@pytest.mark.parametrize("flags", [["-n"], []])
def test_missing_configuration(folder, flags):
    done = run(*flags, "-c", folder / "none.conf")
    assert done.returncode == 78
    assert "none.conf" in done.stderr and "No such file" in done.stderr


def test_a_child_by_hand():
    """argv[0] alone makes no engine."""
    done = subprocess.run(["relayd: engine"], executable=RELAYD, capture_output=True, text=True, timeout=10)
    assert done.returncode == 64
    assert "started by relayd only" in done.stderr


# ---- birth


def limits_of(pid):
    with open(f"/proc/{pid}/limits") as f:
        line = next(line for line in f if line.startswith("Max open files"))
    return line.split()[3:5]


def status_of(pid):
    with open(f"/proc/{pid}/status") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


@pytest.mark.asan
def test_the_engine_has_only_what_it_needs(tree):
    daemon = tree(env={"RELAYD_TEST_SECRET": "x", "SOME_TOKEN": "y", "TZ": "UTC"})
    pid = daemon.engine()
    status = status_of(pid)
    assert status["NoNewPrivs"] == "1"
    with open(f"/proc/{pid}/comm") as f:
        assert f.read() == "relayd: engine\n"
    with open(f"/proc/{pid}/environ") as f:
        environ = f.read()
    assert "RELAYD_" not in environ and "SOME_TOKEN" not in environ and "TZ=UTC" in environ
    assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"
    assert os.readlink(f"/proc/{pid}/fd/1") == "/dev/null"
    assert os.readlink(f"/proc/{pid}/fd/3").startswith("socket:")
    targets = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    assert not any("signalfd" in target for target in targets)
    assert limits_of(pid)[0] == limits_of(pid)[1]
    assert stat.S_IMODE(daemon.state.stat().st_mode) == (0o711 if os.getuid() == 0 else 0o700)
    assert stat.S_IMODE(daemon.runtime.stat().st_mode) == 0o755
    assert (daemon.state / "queue.lock").read_text() == f"{pid}\n"


def assert_divided(daemon):
    """The state folder is root's, to be passed through; what is in it is the engine's alone."""
    assert daemon.state.stat().st_uid == 0 and stat.S_IMODE(daemon.state.stat().st_mode) == 0o711
    owner = pwd.getpwnam(ENGINE_USER).pw_uid
    for name, mode in (("queue", 0o700), ("history", 0o700), ("body", 0o700), ("queue.lock", 0o600)):
        found = (daemon.state / name).stat()
        assert found.st_uid == owner and stat.S_IMODE(found.st_mode) == mode, name


@pytest.mark.skipif(os.getuid() != 0, reason="not root")
def test_root_is_given_up(tree):
    daemon = tree()
    user = pwd.getpwnam(ENGINE_USER)
    status = status_of(daemon.engine())
    assert status["Uid"].split() == [str(user.pw_uid)] * 4
    assert status["Gid"].split() == [str(user.pw_gid)] * 4
    assert status["Groups"].split() == []
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
    assert daemon.runtime.stat().st_uid == user.pw_uid
    assert_divided(daemon)
    assert status_of(daemon.process.pid)["Uid"].split() == ["0"] * 4


@pytest.mark.skipif(os.getuid() != 0, reason="not root")
def test_unknown_user(tree):
    daemon = tree(start=False)
    daemon.file.write_text(daemon.config().replace(f"engine {ENGINE_USER};", "engine nobody-such;"))
    done = run("-c", daemon.file)
    assert done.returncode == 67
    assert 'no user "nobody-such"' in done.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="not root")
def test_a_folder_with_something_in_it_is_not_taken(tree):
    daemon = tree(start=False)
    daemon.state.mkdir()
    (daemon.state / "precious").write_text("mine")
    done = run("-c", daemon.file)
    assert done.returncode == 77
    assert str(daemon.state) in done.stderr and "belongs to somebody else" in done.stderr
    assert daemon.state.stat().st_uid == 0


@pytest.mark.skipif(os.getuid() != 0, reason="not root")
def test_an_empty_folder_of_root_is_taken(tree):
    daemon = tree(start=False)
    daemon.state.mkdir(mode=0o755)
    daemon.start()
    assert_divided(daemon)


@pytest.mark.skipif(os.getuid() != 0, reason="not root")
def test_a_folder_that_was_the_engines_is_taken_over(tree):
    """As it was when the engine was the only process; with mail in it."""
    daemon = tree(routes="route default hold")
    with Client(daemon.port) as client:
        client.ehlo()
        client.transaction("a@client.test", ["b@dest.test"], mail.message(body=b"kept"))
    [kept] = daemon.queue_ids()
    daemon.stop()
    user = pwd.getpwnam(ENGINE_USER)
    os.chown(daemon.state, user.pw_uid, user.pw_gid)
    daemon.state.chmod(0o700)
    daemon.start()
    assert_divided(daemon)
    assert daemon.queue_ids() == [kept]


@pytest.mark.skipif(os.getuid() != 0, reason="not root")
def test_a_link_in_the_place_of_a_folder_is_not_followed(tree):
    """The engine, had it fallen, could have put it there while the folder was its own."""
    daemon = tree(start=False)
    user = pwd.getpwnam(ENGINE_USER)
    elsewhere = daemon.directory / "elsewhere"
    elsewhere.mkdir()
    daemon.state.mkdir()
    os.chown(daemon.state, user.pw_uid, user.pw_gid)
    (daemon.state / "history").symlink_to(elsewhere)
    done = run("-c", daemon.file)
    assert done.returncode == 73
    assert f"{daemon.state}/history: " in done.stderr
    assert elsewhere.stat().st_uid == 0


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
def test_as_an_ordinary_user(tree):
    """Without root all run as the caller, and the engine's user is of no account."""
    user = pwd.getpwnam("nobody")
    daemon = tree(start=False)
    daemon.directory.chmod(0o755)
    os.chown(daemon.directory, user.pw_uid, user.pw_gid)
    daemon.file.chmod(0o644)

    command = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", str(RELAYD)]
    daemon.process = Process("relayd", [*command, "-c", daemon.file])
    daemon.wait_log("is ready")
    assert status_of(daemon.engine())["Uid"].split() == [str(user.pw_uid)] * 4
    assert daemon.state.stat().st_uid == user.pw_uid


def test_state_that_cannot_be_made(tree):
    daemon = tree(start=False)
    daemon.state.write_text("a file where a folder should be")
    done = run("-c", daemon.file)
    assert done.returncode == 73
    assert str(daemon.state) in done.stderr


# ---- somebody else has it


def test_port_in_use(tree):
    daemon = tree(start=False)
    line = next(
        i for i, text in enumerate(daemon.file.read_text().splitlines(), 1) if text.startswith("listen ")
    )
    with socket.create_server(("127.0.0.1", daemon.port)):
        began = time.monotonic()
        done = run("-c", daemon.file)
        took = time.monotonic() - began
    assert done.returncode == 69
    assert 4.5 < took < 10 * wait.FACTOR
    assert f"relayd.conf:{line}: listen 127.0.0.1:{daemon.port}: Address already in use" in done.stderr
    assert f"held by pid {os.getpid()} (" in done.stderr


def test_port_in_use_on_all_addresses(tree):
    daemon = tree(start=False)
    with socket.create_server(("", daemon.port)):
        done = run("-c", daemon.file)
    assert done.returncode == 69
    assert f"held by pid {os.getpid()} (" in done.stderr


def test_port_that_becomes_free(tree):
    daemon = tree(start=False)
    with socket.create_server(("127.0.0.1", daemon.port)):
        daemon.process = Process("relayd", [RELAYD, "-c", daemon.file])
        wait.until(lambda: "starts" in daemon.log, "a start")
        wait.never(lambda: "is ready" in daemon.log, "ready without its port", 0.5)
    daemon.wait_log("is ready")
    assert connects(daemon.port)


def test_stopped_while_it_waits_for_a_port(tree):
    daemon = tree(start=False)
    with socket.create_server(("127.0.0.1", daemon.port)):
        daemon.process = Process("relayd", [RELAYD, "-c", daemon.file])
        wait.until(lambda: "starts" in daemon.log, "a start")
        daemon.stop(timeout=2)


def test_an_address_we_do_not_have(tree):
    daemon = tree(start=False, extra="listen 192.0.2.1:12525")
    done = run("-c", daemon.file)
    assert done.returncode == 69
    assert "listen 192.0.2.1:12525: " in done.stderr and "does not have that address" in done.stderr


@pytest.mark.asan
def test_22_second_instance_on_the_same_state(tree):
    first = tree()
    second = tree(start=False, name="second")
    second.file.write_text(second.config().replace(str(second.state), str(first.state)))
    engine = first.engine()
    with Callers(first.port) as callers:
        done = run("-c", second.file)
    assert done.returncode == 75
    assert f"{first.state} is in use by pid {engine} (relayd: engine)" in done.stderr
    assert not callers.refused and callers.calls > 0
    assert first.engine() == engine and first.ready_count() == 1
    assert (first.state / "queue.lock").read_text() == f"{engine}\n"


def test_lock_held_by_a_reader(tree):
    """relayctl reads the store of a daemon that is down under a shared lock."""
    daemon = tree()
    daemon.stop()
    with open(daemon.state / "queue.lock") as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        done = run("-c", daemon.file)
        assert done.returncode == 75
        assert f"in use by pid {os.getpid()} (" in done.stderr
    daemon.logs.clear()
    daemon.start()


# ---- death


@pytest.mark.asan
def test_1_engine_killed_and_nobody_refused(tree):
    daemon = tree()
    with Callers(daemon.port) as callers:
        for round in range(2):
            pid = daemon.engine()
            os.kill(pid, signal.SIGKILL)
            gone([pid])
            daemon.wait_log(rf"engine\[{pid}\] was ended by signal 9 \(Killed\)")
            wait.until(lambda: daemon.ready_count() == round + 2, lambda: f"ready again\n{daemon.log}")
            assert daemon.engine() != pid
    assert not callers.refused and callers.calls > 10
    assert daemon.process.running()


def test_engine_killed_after_a_while_is_started_at_once(tree):
    daemon = tree()
    for round in range(3):
        time.sleep(1.1)  # a life of more than a second
        os.kill(daemon.engine(), signal.SIGKILL)
        wait.until(lambda: daemon.ready_count() == round + 2, lambda: f"ready again\n{daemon.log}")
    assert "starts again in" not in daemon.log


def test_45_crash_loop_backs_off(tree):
    daemon = tree()
    began = time.monotonic()
    for round in range(3):
        os.kill(daemon.engine(), signal.SIGABRT)
        wait.until(lambda: daemon.ready_count() == round + 2, lambda: f"ready again\n{daemon.log}")
    assert time.monotonic() - began >= 3  # 0 + 1 + 2 s
    assert re.findall(r"starts again in (\d+) s", daemon.log) == ["1", "2"]
    assert re.search(r"was ended by signal 6 \(Aborted\)", daemon.log)


@pytest.mark.asan
def test_1_parent_killed(tree):
    daemon = tree()
    engine = daemon.engine()
    daemon.process.kill(signal.SIGKILL)
    gone([engine], timeout=1)
    daemon.process.popen.wait()
    daemon.process = None
    assert not connects(daemon.port)
    daemon.start()  # at once, on the same port and state
    assert connects(daemon.port)


def test_parent_killed_while_the_engine_is_stopped(tree):
    daemon = tree()
    engine = daemon.engine()
    os.kill(engine, signal.SIGSTOP)
    daemon.process.kill(signal.SIGKILL)
    gone([engine], timeout=1)
    daemon.process.popen.wait()
    daemon.process = None


def test_62_engine_ignores_what_is_for_the_parent(tree):
    daemon = tree()
    engine = daemon.engine()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        os.kill(engine, number)
    wait.never(lambda: not alive(engine), "the engine died", 0.3)
    assert daemon.engine() == engine


# ---- stop


@pytest.mark.asan
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop(tree, number):
    daemon = tree()
    engine = daemon.engine()
    assert daemon.process.stop(20, number) == 0
    assert not alive(engine)
    assert not connects(daemon.port)
    assert "ended with exit code" not in daemon.log and "signal" not in daemon.log


def test_62_ctrl_c_reaches_the_whole_group(tree):
    daemon = tree()
    daemon.process.kill_group(signal.SIGINT)
    assert daemon.process.popen.wait(20) == 0
    assert "ended by signal" not in daemon.log


def test_second_signal_stops_a_hung_engine_at_once(tree):
    daemon = tree()
    engine = daemon.engine()
    os.kill(engine, signal.SIGSTOP)
    daemon.process.kill(signal.SIGTERM)
    daemon.wait_log(r"\]: stops$")
    wait.never(lambda: not daemon.process.running(), "did not wait for the engine", 0.5)
    daemon.process.kill(signal.SIGTERM)
    assert daemon.process.popen.wait(5) == 0
    assert not alive(engine)


def test_55_stop_of_a_hung_engine(tree):
    daemon = tree()
    engine = daemon.engine()
    os.kill(engine, signal.SIGSTOP)
    began = time.monotonic()
    daemon.process.kill(signal.SIGTERM)
    assert daemon.process.popen.wait(40) == 0
    assert 29 < time.monotonic() - began < 35
    assert not alive(engine)
    assert "did not end in time and is killed" in daemon.log


def test_stop_during_back_off(tree):
    daemon = tree()
    os.kill(daemon.engine(), signal.SIGABRT)
    wait.until(lambda: daemon.ready_count() == 2, "ready again")
    os.kill(daemon.engine(), signal.SIGABRT)
    daemon.wait_log("starts again in 1 s")
    daemon.stop(timeout=1)


# ---- reload


@pytest.mark.asan
def test_reload_with_a_new_listener(tree):
    daemon = tree()
    engine, extra = daemon.engine(), ports.free()
    daemon.write_config(extra=f"listen 127.0.0.1:{extra}")
    assert not connects(extra)
    with Callers(daemon.port) as callers:
        assert daemon.reload()
        assert connects(extra)
        daemon.write_config(extra="")
        assert daemon.reload()
        wait.until(lambda: not connects(extra), "the listener is closed")
    assert not callers.refused
    assert daemon.engine() == engine


@pytest.mark.asan
def test_43_reload_of_a_broken_configuration(tree):
    daemon = tree()
    engine, extra = daemon.engine(), ports.free()
    daemon.write_config(extra=f"listen 127.0.0.1:{extra}\nmesage_size 20M")
    line = daemon.file.read_text().splitlines().index("mesage_size 20M") + 1
    assert not daemon.reload()
    assert re.search(rf"error: {re.escape(str(daemon.file))}:{line}:1: ", daemon.log)
    assert connects(daemon.port) and not connects(extra)
    assert daemon.engine() == engine
    daemon.write_config(extra="")
    assert daemon.reload()


RICH = """plus_addressing +
virtual_aliases {folder}/virtual
limits {{ message_size 20M; recipients 200; connections_per_client unlimited }}
storage {{ ahead 4M; reserve 8M }}
history {{ keep 7d; size 64M }}
domain one.test {{
    relay
    recipients postmaster, info
    alias sales info@one.test, boss@elsewhere.test
}}
smarthost away {{
    host 127.0.0.1:9, 127.0.0.2:9
    tls none
    limit {{ connections 3; rate 30/min }}
}}
route from boss@one.test to .slow.test via away
retry slow.test {{ first 1h; factor 1.5; max 8h }}
sender_rewrite root@ hosting@one.test"""


def mutations(line, dice):
    """The line deleted, cut, a word of it misspelt, replaced or doubled, its braces lost, its bytes at random."""
    words = line.split()
    word = dice.randrange(len(words))
    at = dice.randrange(len(words[word]))
    misspelt = words[word][:at] + "x" + words[word][at + 1 :]
    noise = "".join(chr(dice.randint(1, 255)) for _ in range(12)).replace("\n", " ")
    yield ""
    yield line[: dice.randrange(1, len(line) + 1)]
    yield " ".join([*words[:word], misspelt, *words[word + 1 :]])
    yield " ".join([*words[:word], dice.choice(["", "-1", "99999999999999999999", "{", '"', "none"]), *words[word + 1 :]])
    yield " ".join([*words, words[word]])
    yield line.translate(str.maketrans("", "", "{}"))
    yield line[: len(line) // 2] + noise + line[len(line) // 2 :]


def test_43_every_line_mutated(tree, folder):
    """It is in force then, or the old one stays and the place of the mistake is named."""
    (folder / "virtual").write_text("help@one.test info@one.test\n")
    daemon = tree(extra=RICH.format(folder=folder))
    lines = daemon.file.read_text().splitlines()
    dice = random.Random(43)
    engine, outcomes = daemon.engine(), set()
    for number, line in enumerate(lines):
        if line.startswith(("state_dir", "runtime_dir", "users", "listen")):
            continue  # of the laboratory; other tests are about these
        for changed in dice.sample(list(mutations(line, dice)), 2):
            daemon.file.write_text("\n".join([*lines[:number], changed, *lines[number + 1 :]]) + "\n", errors="surrogateescape")
            checked = run("-n", "-c", daemon.file)
            assert checked.returncode in (0, 78), f"{changed!r}: {checked}"
            before = len(daemon.log)
            taken = daemon.reload()
            fixed = "cannot change while relayd runs" in daemon.log[before:]  # good, but for a restart
            assert taken == (checked.returncode == 0 and not fixed), f"{changed!r}: {checked}\n{daemon.log[before:]}"
            outcomes.add(checked.returncode)
            if checked.returncode == 78:
                place = rf"{re.escape(str(daemon.file))}:(\d+):\d+: error: ."
                assert re.search(place, checked.stderr), f"{changed!r}: {checked.stderr}"
                assert re.search(rf"error: {re.escape(str(daemon.file))}:\d+:\d+: ", daemon.log[before:]), daemon.log[before:]
            assert connects(daemon.port) and daemon.engine() == engine
    assert outcomes == {0, 78}
    daemon.file.write_text("\n".join(lines) + "\n")
    assert daemon.reload()


def test_reload_onto_a_port_in_use(tree):
    daemon = tree()
    extra, third = ports.free(), ports.free()
    with socket.create_server(("127.0.0.1", third)):
        daemon.write_config(extra=f"listen 127.0.0.1:{extra}\nlisten 127.0.0.1:{third}")
        assert not daemon.reload()
        assert f"listen 127.0.0.1:{third}: Address already in use: held by pid {os.getpid()} (" in daemon.log
        assert not connects(extra), "all or nothing"
    assert daemon.reload()
    assert connects(extra) and connects(third)


@pytest.mark.parametrize("what", ["state_dir", "runtime_dir"])
def test_reload_cannot_move_house(tree, what):
    daemon = tree()
    daemon.file.write_text(re.sub(rf"{what} .*", f"{what} {daemon.directory}/elsewhere", daemon.config()))
    assert not daemon.reload()
    assert f"{what} cannot change while relayd runs" in daemon.log
    assert not (daemon.directory / "elsewhere").exists()


@pytest.mark.parametrize(
    "what, line",
    [
        ("loops", "loops 3"),
        ("storage", "storage { reserve 1M }"),
        ("message_memory", "limits { message_memory 1M }"),
    ],
)
def test_reload_says_what_needs_a_restart(tree, what, line):
    daemon = tree()
    kept = [old for old in daemon.config().splitlines() if old.split()[:1] != line.split()[:1]]
    daemon.file.write_text("\n".join(kept + [line]) + "\n")
    assert not daemon.reload()
    assert f"{what} cannot change while relayd runs" in daemon.log


def test_44_reload_storm(tree):
    daemon = tree()
    engine = daemon.engine()
    with Callers(daemon.port) as callers:
        for _ in range(300):
            daemon.process.kill(signal.SIGHUP)
        daemon.wait_log("the new configuration is in force")
    extra = ports.free()
    daemon.write_config(extra=f"listen 127.0.0.1:{extra}")
    daemon.process.kill(signal.SIGHUP)
    wait.until(lambda: connects(extra), "the last word counts")
    assert not callers.refused
    assert daemon.engine() == engine


def test_engine_dies_while_it_reloads(tree):
    daemon = tree()
    engine, extra = daemon.engine(), ports.free()
    os.kill(engine, signal.SIGSTOP)
    daemon.write_config(extra=f"listen 127.0.0.1:{extra}")
    daemon.process.kill(signal.SIGHUP)
    daemon.wait_log("reads the configuration again")
    os.kill(engine, signal.SIGKILL)
    daemon.wait_log("the engine died while it took the new configuration")
    wait.until(lambda: daemon.ready_count() == 2, lambda: f"ready again\n{daemon.log}")
    assert connects(daemon.port) and not connects(extra)
    assert daemon.reload()
    assert connects(extra)


def test_reload_without_an_engine(tree):
    """In the pause of a crash loop a better configuration takes effect, and at once."""
    daemon = tree()
    extra = ports.free()
    for deaths in (1, 2, 3):
        os.kill(daemon.engine(), signal.SIGABRT)
        if deaths < 3:
            wait.until(lambda: daemon.ready_count() == deaths + 1, "ready again")
    daemon.wait_log("starts again in 2 s")
    daemon.write_config(extra=f"listen 127.0.0.1:{extra}")
    assert daemon.reload()
    wait.until(lambda: daemon.ready_count() == 4, lambda: f"ready again\n{daemon.log}", timeout=1.5)
    assert connects(extra)


# ---- addresses


def has_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
def test_addresses_of_both_families(tree):
    both, six = ports.free(), ports.free()
    tree(extra=f"listen *:{both}\nlisten [::]:{six}\nlisten 0.0.0.0:{six}")
    for host in ("127.0.0.1", "::1"):
        assert connects(both, host) and connects(six, host)


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
def test_ipv6_alone(tree):
    port = ports.free()
    tree(extra=f"listen [::]:{port}")
    assert connects(port, "::1") and not connects(port, "127.0.0.1")


# ---- the service manager


class Manager:
    """systemd's side of $NOTIFY_SOCKET."""

    def __init__(self, path):
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        os.chmod(self.path, 0o777)
        self.socket.settimeout(10)
        self.heard = []

    def wait(self, word):
        while True:
            text = self.socket.recv(4096).decode()
            self.heard.append(text)
            if word in text.split("\n"):
                return text


def test_service_manager_is_told(tree, folder):
    manager = Manager(folder / "notify")
    daemon = tree(env={"NOTIFY_SOCKET": manager.path})
    manager.wait("READY=1")
    assert daemon.reload()
    assert "MONOTONIC_USEC=" in manager.wait("RELOADING=1")
    manager.wait("READY=1")
    daemon.stop()
    manager.wait("STOPPING=1")
    manager.socket.close()
