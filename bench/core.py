"""What all scenarios share: where things are, what a figure and a goal is.

A scenario measures one server at a time and gives a dict of figures. Runs of
the servers alternate, so that a busy minute falls on all of them; what is
printed and judged is the median of each server's runs.
"""

import contextlib
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build-bench"
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
os.environ.setdefault("RELAYD_BUILD", str(BUILD))

KIB = 1024
MIB = 1024 * KIB
SESSIONS = 50


class Figure:
    """A number that a scenario gives: its key, how it is printed, what it is."""

    def __init__(self, key, label, form="{:.0f}"):
        self.key, self.label, self.form = key, label, form

    def text(self, value):
        return self.form.format(value) if value is not None else "-"


class Goal:
    """One figure of relayd's: a bound for it, or for how many times a peer's it is."""

    def __init__(self, key, least=None, most=None, times=None):
        self.key, self.least, self.most, self.times = key, least, most, times

    def value(self, medians):
        """Or None where something was not measured."""
        ours = medians.get("relayd", {}).get(self.key)
        if self.times is None or ours is None:
            return ours
        theirs = medians.get(self.times, {}).get(self.key)
        return ours / theirs if theirs else None

    def reached(self, value):
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def text(self, label):
        bound = f"at least {self.least:g}" if self.least is not None else f"at most {self.most:g}"
        return f"{label}: {bound}" + (f" times {self.times}'s" if self.times else "")


class Scenario:
    """name and about; servers that take part; figures; goals; measure()."""

    name = about = ""
    servers = ("relayd", "postfix")
    figures = ()
    goals = ()
    runs_max = 100  # one that takes minutes runs once
    needs_library = False  # the slow disk's, built beside the tests

    def measure(self, server, bench):
        """The figures of one run with a server's class."""
        raise NotImplementedError

    def medians(self, runs):
        """{server: {figure: median}} of {server: [figures]}"""
        result = {}
        for server, list_of_figures in runs.items():
            keys = {key for figures in list_of_figures for key in figures}
            result[server] = {
                key: statistics.median(f[key] for f in list_of_figures if key in f) for key in keys
            }
        return result


class Bench:
    """The place of a run, the far end, and how much of everything."""

    def __init__(self, directory, scale, make_sink):
        self.directory, self.scale = Path(directory), scale
        self._make_sink, self._sink = make_sink, None

    def count(self, full, least=1):
        return max(least, int(full * self.scale))

    @property
    def sink(self):
        if self._sink is None:
            self._sink = self._make_sink()
        return self._sink

    @contextlib.contextmanager
    def place(self):
        """A fresh folder that other users may enter, gone afterwards."""
        path = Path(tempfile.mkdtemp(prefix="run-", dir=self.directory))
        path.chmod(0o755)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def stop(self):
        if self._sink is not None:
            self._sink.stop()
