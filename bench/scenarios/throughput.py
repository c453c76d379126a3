"""How many messages a second, and what each costs.

50 sessions of smtp-source send. CPU seconds are those of the server's whole
process tree, children that ended included, until it is idle again; load tool
and sink are not in them. Each run begins with an empty queue and a warm-up.
"""

import time

import core
import load
import proc
from core import KIB, MIB, Figure, Goal, Scenario
from servers.base import Setting

RATE = Figure("rate", "messages/s")
COST = Figure("cpu_per_1000", "CPU s per 1000", "{:.3f}")
ECONOMY = Figure("per_cpu_s", "messages per CPU s")


class Bare(Scenario):
    servers = ("sink",)
    figures = (RATE,)

    def __init__(self, name, reuse, count):
        self.name, self.reuse, self.full = name, reuse, count
        self.about = "smtp-source straight into the sink: what the load tools can do" + (
            ", sessions reused" if reuse else ""
        )

    def measure(self, server, bench):
        count = bench.count(self.full, 2000)
        return {"rate": count / load.send(bench.sink.port, count, 4 * KIB, self.reuse)}


class Throughput(Scenario):
    figures = (RATE, COST, ECONOMY)

    def __init__(self, name, about, size, counts, reuse=True, relay=False, signed=False, sessions=core.SESSIONS,
                 goals=()):  # fmt: skip
        self.name, self.about, self.size, self.counts = name, about, size, counts
        self.reuse, self.relay, self.signed, self.sessions = reuse, relay, signed, sessions
        self.servers, self.goals = tuple(counts), goals

    def measure(self, server, bench):
        count = bench.count(self.counts[server.name], 4 * self.sessions if self.size < MIB else self.sessions)
        warm = max(2 * self.sessions, count // 20) if self.size < MIB else self.sessions
        setting = Setting(hold=not self.relay, port=bench.sink.port, signed=self.signed)
        with bench.place() as place:
            running = server(place, setting).start()
            try:
                return self._run(running, bench.sink, warm, count)
            finally:
                running.stop()

    def _run(self, running, sink, warm, count):
        arrived = sink.counts()["messages"]
        self._load(running, warm)
        if self.relay:
            sink.wait(arrived + warm, 300)
        cpu = proc.cpu_when_idle(running.pids)
        began = time.monotonic()
        self._load(running, count)
        ended = time.monotonic()
        if self.relay:
            ended = sink.wait(arrived + warm + count, 300)["last_ns"] / 1e9
        cpu = proc.cpu_when_idle(running.pids) - cpu
        return {
            "rate": count / (ended - began),
            "cpu_per_1000": cpu * 1000 / count,
            "per_cpu_s": count / max(cpu, 0.01),
        }

    def _load(self, running, count):
        load.send(running.port, count, self.size, self.reuse, sessions=self.sessions)


class BesideBare(Throughput):
    """What is left of the bare dialogue when each message is on disk before its 250."""

    def measure(self, server, bench):
        if server is not None:
            return super().measure(server, bench)
        count = bench.count(self.counts["sink"], 4 * self.sessions)
        return {"rate": count / load.send(bench.sink.port, count, self.size, self.reuse, sessions=self.sessions)}


def beside_bare(name, sessions):
    about = f"4 KiB accepted over {sessions} reused sessions, in turns with the same dialogue and nothing stored"
    counts = {"relayd": 60000, "sink": 60000}
    return BesideBare(name, about, 4 * KIB, counts, sessions=sessions, goals=[Goal("rate", least=0.6, times="sink")])


def beside_postfix(rate=None, economy=None):
    return [Goal("rate", least=rate, times="postfix")] + (
        [Goal("per_cpu_s", least=economy, times="postfix")] if economy else []
    )


SCENARIOS = [
    Bare("bare", False, 40000),
    Bare("bare-reuse", True, 120000),
    Throughput(
        "accept", "4 KiB accepted and durably queued, a session for each message", 4 * KIB,
        {"relayd": 40000, "postfix": 8000, "exim": 8000, "haraka": 8000},
        reuse=False, goals=beside_postfix(5, 10),
    ),
    Throughput(
        "accept-reuse", "the same, sessions reused (smtp-source -d)", 4 * KIB,
        {"relayd": 80000, "postfix": 10000, "exim": 10000, "haraka": 10000}, goals=beside_postfix(10, 15),
    ),
    beside_bare("accept-bare", core.SESSIONS),
    beside_bare("accept-bare-200", 200),
    Throughput(
        "relay", "from smtp-source until the last message of 4 KiB is in the sink", 4 * KIB,
        {"relayd": 40000, "postfix": 5000, "exim": 3000, "haraka": 5000}, relay=True, goals=beside_postfix(8, 10),
    ),
    Throughput(
        "relay-100k", "the same with messages of 100 KiB", 100 * KIB,
        {"relayd": 8000, "postfix": 2000, "exim": 2000, "haraka": 2000}, relay=True, goals=beside_postfix(4),
    ),
    Throughput(
        "relay-10m", "the same with messages of 10 MiB over 10 sessions", 10 * MIB,
        {"relayd": 200, "postfix": 200, "exim": 200, "haraka": 100}, relay=True, sessions=10, goals=beside_postfix(1),
    ),
    Throughput(
        "relay-signed", "relay with a DKIM signature by an RSA key of 2048 bits, and with an Ed25519 one as well", 4 * KIB,
        {"relayd": 6000, "relayd-both": 6000, "postfix": 3000}, relay=True, signed=True,
    ),
]  # fmt: skip
