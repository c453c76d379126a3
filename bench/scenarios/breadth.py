"""Many recipients and many destinations.

Envelopes are sent pipelined by one session. relayd finds its destinations by
DNS (nsd); peers are told theirs by a table, which is kinder.
"""

import random
import time

import load
from core import KIB, Figure, Goal, Scenario
from far_end import Silent, Sink
from servers.base import Setting

RATE = Figure("recipients", "recipients/s")
PER_MESSAGE = 1000
DEAD_ADDRESS = "127.0.2.1"
TURNS = 4


class Recipients(Scenario):
    """Seconds run from the first byte of MAIL until the sink has the last recipient's copy."""

    figures = (RATE, Figure("transactions", "transactions per message", "{:.1f}"))

    def __init__(self, name, about, domains, messages, together=False, goals=()):
        self.name, self.about, self.domains, self.messages = name, about, domains, messages
        self.together = together  # or each message when the one before has arrived
        self.servers, self.goals = tuple(messages), goals

    def measure(self, server, bench):
        sink = Sink("0.0.0.0:0")
        with bench.place() as place:
            ways = {f"d{n}.test": (f"127.0.1.{n + 1}", sink.port) for n in range(self.domains)}
            running = server(place, Setting(port=sink.port, ways=ways)).start()
            try:
                return self._run(load.Pipeliner(running.port), sink, bench.count(self.messages[server.name], 2))
            finally:
                running.stop()
                sink.stop()

    def _run(self, client, sink, messages):
        self._timed(client, sink, 1)  # everything is found, connected to and running after this
        before = sink.counts()["messages"]
        if self.together:
            seconds = self._timed(client, sink, messages)
        else:
            seconds = sum(self._timed(client, sink, 1) for _ in range(messages))
        client.close()
        return {
            "recipients": PER_MESSAGE * messages / seconds,
            "transactions": (sink.counts()["messages"] - before) / messages,
        }

    def _timed(self, client, sink, messages):
        arrived = sink.counts()["recipients"]
        recipients = [f"r{n}@d{n % self.domains}.test" for n in range(PER_MESSAGE)]
        random.Random(messages).shuffle(recipients)
        began = time.monotonic()
        for _ in range(messages):
            client.send(recipients, load.content(4 * KIB))
        return sink.wait(arrived + PER_MESSAGE * messages, 300, "recipients")["last_ns"] / 1e9 - began


class Dead(Scenario):
    """Two servers of a kind take turns with mail for a good destination; one of them
    has, besides, a long queue for a dead one."""

    figures = (
        Figure("dead", "messages for the dead one"),
        Figure("rate", "others without it, messages/s"),
        Figure("burdened", "others beside it, messages/s"),
        Figure("kept", "beside it / without it", "{:.2f}"),
    )
    goals = (Goal("kept", least=0.5),)
    runs_max = 1

    def __init__(self, name, about, silent, dead, live):
        self.name, self.about, self.silent, self.dead, self.live = name, about, silent, dead, live
        self.servers = tuple(dead)

    def measure(self, server, bench):
        sink = Sink("127.0.0.1:0")
        hole = Silent(DEAD_ADDRESS, sink.port) if self.silent else None
        setting = Setting(
            port=sink.port, ways={"live.test": ("127.0.0.1", sink.port), "dead.test": (DEAD_ADDRESS, sink.port)}
        )
        with bench.place() as one, bench.place() as other:
            free, burdened = server(one, setting), server(other, setting)
            try:
                free.start()
                burdened.start()
                dead = bench.count(self.dead[server.name], 500)
                load.send(burdened.port, dead, KIB, True, to="b@dead.test")
                return {"dead": dead, **self._turns(free, burdened, sink, bench.count(self.live[server.name], 400))}
            finally:
                free.stop()
                burdened.stop()
                sink.stop()
                if hole:
                    hole.stop()

    def _turns(self, free, burdened, sink, count):
        spent = {free: 0, burdened: 0}
        for turn in range(TURNS + 1):  # the first one is a warm-up
            for running in (free, burdened):
                seconds = self._relayed(running, sink, count // TURNS)
                spent[running] += seconds if turn > 0 else 0
        count = count // TURNS * TURNS
        return {
            "rate": count / spent[free],
            "burdened": count / spent[burdened],
            "kept": spent[free] / spent[burdened],
        }

    def _relayed(self, running, sink, count):
        arrived = sink.counts()["messages"]
        began = time.monotonic()
        load.send(running.port, count, 4 * KIB, True, to="b@live.test")
        return sink.wait(arrived + count, 300)["last_ns"] / 1e9 - began


SCENARIOS = [
    Recipients(
        "recipients", "a message to 1,000 recipients of one domain, one after another", 1,
        {"relayd": 40, "postfix": 20, "exim": 20}, goals=[Goal("recipients", least=1, times="exim")],
    ),
    Recipients(
        "domains", "100 messages, each to 10 recipients in each of 100 domains", 100,
        {"relayd": 100, "postfix": 20, "exim": 20}, together=True, goals=[Goal("recipients", least=1, times="exim")],
    ),
    Dead(
        "dead-refusing", "beside a destination that refuses connections (peers: a tenth of its mail)", False,
        {"relayd": 100_000, "postfix": 10_000, "exim": 10_000}, {"relayd": 40_000, "postfix": 4000, "exim": 2000},
    ),
    Dead(
        "dead-silent", "beside one that takes connections and says nothing", True,
        {"relayd": 100_000, "postfix": 10_000}, {"relayd": 40_000, "postfix": 4000},
    ),
]  # fmt: skip
