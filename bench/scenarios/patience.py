"""Clients that hold what they have been given, and good ones beside them.

Each of 250 sockets comes from an address of its own. Half of them say nothing
from the start; the others say EHLO and MAIL and then give a letter a second.
"""

import socket
import threading
import time

import load
from core import KIB, Figure, Goal, Scenario
from servers.base import Setting

HELD = 250


class Holder:
    """Begins to connect and does not wait for it: a server that is full lets some hang."""

    def __init__(self, port, number):
        self.socket = socket.socket()
        self.socket.bind((f"127.0.3.{number % 250 + 1}", 0))
        self.socket.setblocking(False)
        self.socket.connect_ex(("127.0.0.1", port))
        self.trickles = number % 2 == 1
        self.letters = iter(b"EHLO held.test\r\nMAIL FROM:<a@client.test>\r\n" + b"x" * 10000)

    def breathe(self):
        if self.trickles:
            try:
                self.socket.send(bytes([next(self.letters)]))
            except OSError:
                pass  # not connected yet, or let go: rightly


class Held(Scenario):
    name = "held"
    about = f"{HELD} sockets held by clients that say nothing or a letter a second, and good clients beside them"
    servers = ("relayd", "postfix", "exim", "haraka")
    figures = (
        Figure("slowest_ms", "slowest good message, ms"),
        Figure("median_ms", "median good message, ms", "{:.1f}"),
        Figure("answered", "good messages answered in 10 s, %"),
    )
    goals = (Goal("slowest_ms", most=1000), Goal("answered", least=100))

    def measure(self, server, bench):
        with bench.place() as place:
            running = server(place, Setting(hold=True)).start()
            try:
                holders = [Holder(running.port, n) for n in range(HELD)]
                over = threading.Event()
                breath = threading.Thread(target=self._breathe, args=(holders, over))
                breath.start()
                try:
                    waits = self._good_ones(running.port, bench.count(200, 40))
                finally:
                    over.set()
                    breath.join()
                    for holder in holders:
                        holder.socket.close()
            finally:
                running.stop()
        answered = sorted(w for w in waits if w is not None)
        return {
            "answered": 100 * len(answered) / len(waits),
            "slowest_ms": (answered[-1] if len(answered) == len(waits) else 10) * 1000,
            **({"median_ms": answered[len(answered) // 2] * 1000} if answered else {}),
        }

    def _breathe(self, holders, over):
        while not over.wait(1):
            for holder in holders:
                holder.breathe()

    def _good_ones(self, port, count):
        waits = []
        while len(waits) < count and waits.count(None) < 3:  # then that is known
            waits.append(self._good(port))
        return waits

    def _good(self, port):
        """Seconds from connecting to 250, or None if there was none in time."""
        began = time.monotonic()
        try:
            client = load.Pipeliner(port, timeout=10)
            client.send(["b@dest.test"], load.content(KIB))
            client.close()
        except (OSError, RuntimeError):
            return None
        return time.monotonic() - began


SCENARIOS = [Held()]
