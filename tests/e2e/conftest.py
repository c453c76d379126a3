"""Fixtures: a laboratory that is put away after each test, whatever happened."""

import shutil
import signal
import tempfile
from pathlib import Path

import pytest

from lab import ports, wait
from lab import relayd as relayd_module
from lab import dovecot as dovecot_module
from lab import postfix as postfix_module
from lab.between import Between
from lab.dns import Dns, FakeDns
from lab.pki import Pki
from lab.relayd import Relayd
from lab.sink import Sink

TEST_SECONDS = 150


@pytest.fixture(autouse=True)
def deadline():
    """No test may hang: polling has deadlines, this is for everything else."""

    def over(*_):
        raise TimeoutError(f"test ran longer than {TEST_SECONDS * wait.FACTOR:g} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, TEST_SECONDS * wait.FACTOR)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def folder():
    """A folder with a short path (sockets) that other users may enter."""
    path = Path(tempfile.mkdtemp(prefix="relayd-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


class Lab:
    """Makes parts and remembers to stop them, the daemons first."""

    def __init__(self, folder):
        self.folder = folder
        self.relayds, self.others = [], []
        self._mx_port = None
        self._pki = None

    @property
    def mx_port(self):
        """One port for all MX hosts, which differ by their address on loopback."""
        if self._mx_port is None:
            self._mx_port = ports.free()
        return self._mx_port

    def relayd(self, start=True, name=None, **options):
        number = len(self.relayds)
        options.setdefault("mx_port", self._mx_port)
        daemon = Relayd(self.folder / (name or f"relayd{number}"), **options)
        self.relayds.append(daemon)
        return daemon.start() if start else daemon

    def relay_to(self, sink, extra="", **options):
        """A relayd that sends everything to that sink, its smart host "sink"."""
        return self.relayd(
            extra=f"smarthost sink {{ host 127.0.0.1:{sink.port}; tls none }}\n{extra}",
            routes="route default via sink",
            **options,
        )

    def sink(self, host="127.0.0.1", port=0, **options):
        return self._keep(Sink(host, port, **options))

    def mx(self, number, **options):
        """A sink at 127.0.0.NUMBER on the MX port."""
        return self.sink(f"127.0.0.{number}", self.mx_port, name=f"mx{number}.test", **options)

    @property
    def pki(self):
        if self._pki is None:
            self._pki = Pki(self.folder / "pki")
        return self._pki

    def dns(self, records=""):
        return self._keep(Dns(self.folder / f"dns{len(self.others)}", records))

    def fake_dns(self, **options):
        return self._keep(FakeDns(**options))

    def postfix(self, **options):
        reason = postfix_module.available()
        if reason:
            pytest.skip(reason)
        server = postfix_module.Postfix(self.folder / f"postfix{len(self.others)}", **options)
        self._keep(server)
        return server.start()

    def dovecot(self, users, **options):
        reason = dovecot_module.available()
        if reason:
            pytest.skip(reason)
        return self._keep(dovecot_module.Dovecot(self.folder / f"dovecot{len(self.others)}", users, **options))

    def between(self, port, context):
        return self._keep(Between(port, context))

    def smtp_sink(self, *args):
        return self._keep(postfix_module.SmtpSink(self.folder / f"smtp-sink{len(self.others)}", *args))

    def _keep(self, part):
        self.others.append(part)
        return part

    def close(self):
        problems = []
        for part in [*reversed(self.relayds), *reversed(self.others)]:
            try:
                part.stop()
            except AssertionError as problem:
                problems.append(str(problem))
        for sink in self.others:
            if isinstance(sink, Sink) and sink.violations:
                problems.append(f"{sink.name}: {sink.violations}")
        assert not problems, "\n".join(problems)


@pytest.fixture
def bench(folder):
    """The laboratory without the daemon: for tests of the harness."""
    lab = Lab(folder)
    yield lab
    lab.close()


@pytest.fixture
def lab(bench):
    reason = relayd_module.available()
    if reason:
        pytest.skip(reason)
    return bench


@pytest.fixture
def relay(lab):
    """The usual one: everything goes to one sink by a smart host. Gives (relayd, sink)."""
    sink = lab.sink()
    return lab.relay_to(sink), sink
