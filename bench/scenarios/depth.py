"""A long queue: what it weighs, how fast it is listed, and how soon a server that
was killed greets again.

The queue is filled over SMTP with messages of 1 KiB. relayd's are real mail on
its way: their smart host refuses connections, so all of them wait for it, and
after a restart all are due at once. Peers hold theirs, which is kinder: they
neither try nor sort them. Peers have 50,000, relayd as many as its scenario says.
"""

import os
import re
import subprocess
import time

import load
import proc
from core import KIB, MIB, Figure, Goal, Scenario
from far_end import Refusing
from servers.base import Setting, first_greeting

PAGE = 100  # messages a person sees at first
FIGURES = (
    Figure("messages", "messages"),
    Figure("fill_rate", "filled at, messages/s"),
    Figure("memory", "memory, MiB", "{:.1f}"),
    Figure("resident", "with mapped files, MiB", "{:.1f}"),
    Figure("per_message", "growth per message, bytes"),
    Figure("page_ms", "first page listed, ms", "{:.1f}"),
    Figure("list_s", "first 50,000 listed, s", "{:.2f}"),
    Figure("greets_s", "killed: greets after, s", "{:.2f}"),
    Figure("accepts_s", "killed: accepts after, s", "{:.2f}"),
    Figure("kept", "accept rate full / empty", "{:.2f}"),
)


class Depth(Scenario):
    figures = FIGURES
    runs_max = 1

    def __init__(self, name, about, counts, goals, kept_of=40000):
        self.name, self.about, self.counts, self.goals = name, about, counts, goals
        self.servers, self.kept_of = tuple(counts), kept_of

    def measure(self, server, bench):
        count = bench.count(self.counts[server.name], 2000)
        refusing = Refusing()
        setting = Setting(hold=server.name != "relayd", port=refusing.port)
        with bench.place() as full_place, bench.place() as empty_place:
            full, empty = server(full_place, setting), server(empty_place, setting)
            try:
                full.start()
                bare, _ = proc.memory(full.pids)
                seconds = load.send(full.port, count, KIB, True)
                figures = {"messages": count, "fill_rate": count / seconds}
                figures.update(weigh(full, bare, count))
                figures.update(read(full, count))
                figures.update(kill(full))
                figures["kept"] = self._kept(full, empty.start(), bench)
                return figures
            finally:
                full.stop()
                empty.stop()
                refusing.stop()

    def _kept(self, full, empty, bench):
        """Alternately, so that a busy second falls on both."""
        count = bench.count(self.kept_of if full.name == "relayd" else self.kept_of // 10, 400)
        spent = {full: 0, empty: 0}
        proc.cpu_when_idle(full.pids)  # all that was due at the restart has been looked at
        for running in (empty, full):
            load.send(running.port, count // 4, KIB, True)
        for _ in range(4):
            for running in (empty, full):
                spent[running] += load.send(running.port, count // 4, KIB, True)
        return spent[empty] / spent[full]


def weigh(running, bare, count):
    """bare: what it weighed before, in MiB."""
    proc.cpu_when_idle(running.pids)
    own, resident = proc.memory(running.pids)
    return {"memory": own, "resident": resident, "per_message": (own - bare) * MIB / count}


def listed(running, count):
    """Seconds until so many messages stand on the screen, from the command's start."""
    command, env, pattern = running.listing()
    is_message = re.compile(pattern).match
    began = time.monotonic()
    shown = subprocess.Popen([str(c) for c in command], env={**os.environ, **env}, stdout=subprocess.PIPE)
    with shown.stdout:
        for line in shown.stdout:
            count -= is_message(line) is not None
            if count == 0:
                break
        seconds = time.monotonic() - began
    shown.wait()  # ended by a closed pipe, or by its work's end
    if count != 0:
        raise RuntimeError(f"{running.name} lists {count} messages too few")
    return seconds


def read(running, count):
    listed(running, 1)
    pages = sorted(listed(running, PAGE) for _ in range(5))
    figures = {"page_ms": pages[2] * 1000}
    figures["list_s"] = listed(running, min(count, 50000))
    return figures


def kill(running):
    running.crash()
    began = time.monotonic()
    running.launch()
    session = first_greeting(running.port)
    greeted = time.monotonic()
    session.close()
    client = load.Pipeliner(running.port)
    client.send(["b@dest.test"], load.content(KIB))
    ended = time.monotonic()
    client.close()
    return {"greets_s": greeted - began, "accepts_s": ended - began}


SCENARIOS = [
    Depth(
        "depth-100k", "100,000 queued messages, SIGKILL and restart",
        {"relayd": 100_000},
        [Goal("greets_s", most=2)],
    ),
    Depth(
        "depth", "a million queued messages; peers: 50,000",
        {"relayd": 1_000_000, "postfix": 50_000, "exim": 50_000},
        [
            Goal("memory", most=300), Goal("per_message", most=1024), Goal("page_ms", most=50),
            Goal("greets_s", most=2), Goal("accepts_s", most=2), Goal("kept", least=0.8),
        ],
    ),
]  # fmt: skip
