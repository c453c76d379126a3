"""A slow disk, and how near one message's answer comes to what the disk costs.

The slow disk is tests/crash/disk.c, preloaded: each sync below the queue takes
so long more. Syncs of several processes wait side by side, as on a disk that
merges them, which is kinder to servers that sync for each message.
"""

import os
import statistics
import time

import core
import load
from core import KIB, Figure, Goal, Scenario
from lab.disk import Disk
from servers.base import Setting

DELAY = 0.005


class SlowDisk(Scenario):
    name = "slow-disk"
    about = "4 KiB accepted by 200 reused sessions where each sync costs 5 ms"
    servers = ("relayd", "postfix", "exim", "haraka")
    figures = (Figure("rate", "messages/s"), Figure("syncs", "syncs per message", "{:.2f}"))
    goals = (Goal("rate", least=20, times="postfix"),)
    counts = {"relayd": 20000, "postfix": 2000, "exim": 2000, "haraka": 2000}

    def measure(self, server, bench):
        count = bench.count(self.counts[server.name], 800)
        with bench.place() as place:
            disk = Disk(place / "disk", place)
            running = server(place, Setting(hold=True, disk=disk)).start()
            try:
                disk.set(delay=DELAY)
                load.send(running.port, 400, 4 * KIB, True, sessions=200)
                before = len(disk.syncs())
                seconds = load.send(running.port, count, 4 * KIB, True, sessions=200)
                syncs = len(disk.syncs()) - before
            finally:
                disk.set()
                running.stop()
        return {"rate": count / seconds, "syncs": syncs / count}


class Latency(Scenario):
    """The disk's own: 4 KiB appended to a file beside the queue, and fdatasync. Both
    are measured in turns, for a disk has its moods."""

    name = "latency"
    about = "one message of 4 KiB at a time, from the end of DATA to 250"
    servers = ("relayd", "postfix", "exim", "haraka")
    figures = (
        Figure("ms", "to its 250, ms", "{:.2f}"),
        Figure("p95_ms", "the slowest twentieth, ms", "{:.2f}"),
        Figure("disk_ms", "the disk's own sync, ms", "{:.2f}"),
        Figure("disk_syncs", "in syncs of the disk's own", "{:.2f}"),
        Figure("syncs", "syncs before 250", "{:.2f}"),
    )
    goals = (Goal("disk_syncs", most=3),)

    def measure(self, server, bench):
        count = bench.count(400, 100)
        with bench.place() as place:
            disk = Disk(place / "disk", place)
            running = server(place, Setting(hold=True, disk=disk)).start()
            own = os.open(running.state / "own", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
            try:
                client = load.Pipeliner(running.port)
                spans = [(self._one(client), self._append(own)) for _ in range(count)][count // 10 :]
                client.close()
            finally:
                os.close(own)
                running.stop()
            syncs = disk.syncs()
        waits = sorted(ended - began for (began, ended), _ in spans)
        own_s = statistics.median(seconds for _, seconds in spans)
        inside = sum(began <= s.began and s.ended <= ended for (began, ended), _ in spans for s in syncs)
        return {
            "ms": statistics.median(waits) * 1000,
            "p95_ms": waits[len(waits) * 95 // 100] * 1000,
            "disk_ms": own_s * 1000,
            "disk_syncs": statistics.median(waits) / own_s,
            "syncs": inside / len(spans),
        }

    def _one(self, client):
        """When its last byte was sent, and when it was answered."""
        client.begin(["b@dest.test"])
        began = time.monotonic()
        client.finish(load.content(4 * KIB))
        return began, time.monotonic()

    def _append(self, own):
        began = time.monotonic()
        os.write(own, b"x" * 4 * core.KIB)
        os.fdatasync(own)
        return time.monotonic() - began


SCENARIOS = [SlowDisk(), Latency()]
