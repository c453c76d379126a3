#!/usr/bin/python3
"""loop.py: every call that can fail fails, in a whole tree of processes.

    tests/faults/loop.py                      each stack to each call, once and for good
    tests/faults/loop.py --every 40           each 40th of these
    tests/faults/loop.py --deep               each stack inside OpenSSL, too
    tests/faults/loop.py --numbers            each call by its number instead: days
    tests/faults/loop.py --kinds memory,open --processes engine --phases work --modes once

First the calls are counted: during a start, and while mail goes through. Then
each is made to fail in turn (tests/faults/fail.c), and the tree is looked at
(tests/faults/scenario.py). The end is a table of the points visited and how
each ended; a point whose call did not come again is counted as not met.
"""

import argparse
import collections
import multiprocessing
import queue
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from control import KINDS, PROCESSES, where  # noqa: E402
from lab import relayd  # noqa: E402
from scenario import Lab, Point  # noqa: E402

PHASES, MODES = ("start", "work"), ("once", "sticky")
TRIES = 3  # threads take other ways: a stack may not come the first time


def census(directory, rounds):
    """({(phase, process, kind, hash): frames}, {(phase, process, kind): calls})"""
    stacks, calls = {}, collections.Counter()
    lab = Lab(directory)
    try:
        for _ in range(rounds):
            kept = Point("start", "parent", "limits", number=1 << 60)  # never reached
            lab.control.collect(True)
            outcome = lab.visit(kept)
            assert not outcome.problems, outcome.problems
            lab.control.collect(True)
            lab.tree.stop()
            lab.control.forget()
            lab.start()
            for phase in PHASES:
                if phase == "work":
                    lab.control.collect(True)
                    lab.control.forget()
                    lab.work()
                for (process, kind, h), frames in lab.control.stacks().items():
                    stacks[phase, process, kind, h] = frames
                for key, count in lab.control.counts().items():
                    calls[(phase, *key)] = max(calls[(phase, *key)], count)
            lab.control.collect(False)
    finally:
        lab.close()
    return stacks, calls


def thin_out(stacks):
    """Of the many ways through OpenSSL that begin with one call of ours, one."""
    kept = {}
    for key, frames in sorted(stacks.items()):
        ours = tuple(f for f in frames if f >> 48 == 1)
        kept.setdefault((*key[:3], ours if key[2] == "crypto_memory" else key[3]), key)
    return {key: stacks[key] for key in kept.values()}


def some_of_each(points, count, dice):
    """By turns one of each kind of call: most points are memory's."""
    kinds = collections.defaultdict(list)
    for point in dice.sample(points, len(points)):
        kinds[point.kind].append(point)
    chosen = []
    while len(chosen) < min(count, len(points)):
        chosen += [kind.pop() for kind in dice.sample(list(kinds.values()), len(kinds)) if kind]
    return chosen[:count]


def points_of(stacks, calls, options):
    def wanted(phase, process, kind):
        return phase in options.phases and process in options.processes and kind in options.kinds

    points = []
    if not options.deep:
        stacks = thin_out(stacks)
    for sticky in [mode == "sticky" for mode in options.modes]:
        if options.numbers:
            for (phase, process, kind), count in sorted(calls.items()):
                if wanted(phase, process, kind):
                    points += [Point(phase, process, kind, sticky, number=n + 1) for n in range(count)]
        else:
            for (phase, process, kind, h), frames in sorted(stacks.items()):
                if wanted(phase, process, kind):
                    points.append(Point(phase, process, kind, sticky, hash=h, frames=tuple(frames)))
    if options.stacks:
        points = [p for p in points if f"{p.hash:016x}" in options.stacks]
    if options.points is not None:
        return some_of_each(points, options.points, random.Random(options.offset))
    return points[options.offset % options.every :: options.every]


def work(directory, todo, done):
    lab = None
    try:
        while (point := todo.get()) is not None:
            for _ in range(TRIES):
                if lab is None:
                    shutil.rmtree(directory, ignore_errors=True)
                    lab = Lab(directory)
                try:
                    outcome = lab.visit(point)
                except Exception as problem:  # the laboratory's own trouble is told as such
                    done.put((point, repr(problem)))
                    lab.tree.process.kill_tree()
                    lab.close()
                    lab = None
                    break
                if outcome.failed or outcome.problems:
                    break
            else:
                outcome.end = "not met"
            if lab is not None:
                done.put((point, outcome))
                if outcome.problems:  # the next point is not to suffer from it
                    lab.close()
                    lab = None
    finally:
        if lab is not None:
            lab.close()
        done.put((None, None))


class Result:
    def __init__(self):
        self.calls = {}
        self.outcomes = []
        self.failures = []  # (point, text)
        self.seconds = 0

    @property
    def visited(self):
        return [o for o in self.outcomes if o.failed]

    @property
    def not_met(self):
        return [o for o in self.outcomes if not o.failed]

    def table(self):
        rows = collections.defaultdict(collections.Counter)
        for o in self.outcomes:
            key = (o.point.phase, o.point.process, o.point.kind, "sticky" if o.point.sticky else "once")
            rows[key][o.end] += 1
        for key, ends in sorted(rows.items()):
            yield f"{sum(ends.values()):5}  {' '.join(key):42}  " + "; ".join(
                f"{count} {end}" for end, count in ends.most_common()
            )

    def summary(self):
        ends = collections.Counter(o.end for o in self.visited)
        return (
            f"{len(self.visited)} points visited, {len(self.not_met)} not met, "
            f"{sum(o.acknowledged for o in self.outcomes)} messages acknowledged, "
            f"{sum(o.refused for o in self.outcomes)} not taken, {sum(o.twice for o in self.outcomes)} twice after "
            f"a death or a cut, slowest client {max((o.slowest for o in self.outcomes), default=0):.1f} s, "
            f"{len(self.failures)} failures, in {self.seconds:.0f} s\n"
            + "\n".join(f"{count:6}  {end}" for end, count in ends.most_common())
        )


def run(options, say=print):
    place = Path(tempfile.mkdtemp(prefix="relayd-faults-"))
    place.chmod(0o755)
    result = Result()
    began = time.monotonic()
    stacks, result.calls = census(place / "census", options.rounds)
    points = points_of(stacks, result.calls, options)
    say(f"{sum(result.calls.values())} calls, {len(stacks)} stacks; {len(points)} points to visit")
    todo, done = multiprocessing.Queue(), multiprocessing.Queue()
    for point in points:
        todo.put(point)
    workers = []
    for n in range(options.jobs):
        todo.put(None)
        workers.append(multiprocessing.Process(target=work, args=(place / f"lab{n}", todo, done)))
        workers[-1].start()
    left = len(workers)
    while left:
        try:
            point, outcome = done.get(timeout=300)
        except queue.Empty:
            result.failures.append((None, "no worker has anything to say"))
            break
        if point is None:
            left -= 1
        elif isinstance(outcome, str):
            result.failures.append((point, outcome))
            say(f"FAILED {point}: {outcome}")
        else:
            result.outcomes.append(outcome)
            if outcome.problems:
                text = "; ".join(outcome.problems)
                result.failures.append((point, text))
                say(f"FAILED {point}: {text}\n       {outcome.end}\n       at {where(outcome.frames)}")
                if options.logs:
                    say(outcome.log)
            if len(result.outcomes) % 100 == 0:
                say(f"{len(result.outcomes)} of {len(points)} in {time.monotonic() - began:.0f} s")
    for worker in workers:
        worker.join(20)
        worker.kill()
    result.seconds = time.monotonic() - began
    shutil.rmtree(place, ignore_errors=True)
    return result


def arguments(words=None):
    parser = argparse.ArgumentParser(description="fails every call of a tree of relayd's, one after the other")
    parser.add_argument("--numbers", action="store_true", help="every call, not every stack")
    parser.add_argument("--deep", action="store_true", help="every stack inside OpenSSL, not one for each call of it")
    parser.add_argument("--every", type=int, default=1, help="each K-th point only")
    parser.add_argument("--offset", type=int, default=0, help="begin with that one of K")
    parser.add_argument("--points", type=int, help="so many, by turns of each kind; --offset is the seed")
    parser.add_argument("--rounds", type=int, default=3, help="times that the calls are counted")
    parser.add_argument("--jobs", type=int, default=3, help="trees at a time")
    parser.add_argument("--stacks", type=lambda text: text.split(","), help="these only")
    parser.add_argument("--logs", action="store_true", help="show the log of what failed")
    for name, all_of in (("phases", PHASES), ("processes", PROCESSES), ("kinds", KINDS), ("modes", MODES)):
        parser.add_argument(f"--{name}", type=lambda text: text.split(","), default=list(all_of))
    return parser.parse_args(words)


def main():
    if relayd.available():
        sys.exit(f"loop.py: {relayd.available()}")
    result = run(arguments(), say=lambda text: print(text, flush=True))
    for line in result.table():
        print(line)
    print(result.summary())
    sys.exit(1 if result.failures else 0)


if __name__ == "__main__":
    main()
