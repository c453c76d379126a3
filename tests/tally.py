#!/usr/bin/python3
"""Counts tests over the logs of several runs.

tally.py NAME=LOG...

LOG is meson's testlog.json (a line for each program; those speaking TAP count
each of their subtests) or a JUnit file (.xml) as pytest writes it. Prints a
line for each NAME, the failures with the end of their output, how many were
skipped if any were, and last

    N passed, N failed

A log that is missing or unreadable is one failure: a run that died must never
look like a run without failures. Exits 0 only if nothing failed.
"""

import json
import re
import sys
import xml.etree.ElementTree as ElementTree

TAP_LINE = re.compile(r"^(not )?ok\b(?:\s+\d+)?(?:\s*-)?\s*(.*)$")
TAP_PLAN = re.compile(r"^1\.\.(\d+)")
DIRECTIVE = re.compile(r"#\s*(skip|todo)\b", re.IGNORECASE)
TAIL_LINES = 25


class Tally:
    def __init__(self):
        self.passed = 0
        self.skipped = 0
        self.failures = []  # (name, text)

    def fail(self, name, text=""):
        self.failures.append((name, text))

    def add(self, other):
        self.passed += other.passed
        self.skipped += other.skipped
        self.failures += other.failures

    def verdict(self):
        return f"{self.passed} passed, {len(self.failures)} failed"

    def __str__(self):
        return self.verdict() + (f", {self.skipped} skipped" if self.skipped else "")


def tail(text):
    return "\n".join((text or "").rstrip().splitlines()[-TAIL_LINES:])


def count_tap(name, text, output):
    """The subtests of one program; None if it printed no TAP at all."""
    tally = Tally()
    planned = None
    seen = 0
    for line in text.splitlines():
        plan = TAP_PLAN.match(line)
        if plan:
            # One program may run several groups, each with a plan.
            planned = (planned or 0) + int(plan.group(1))
            if planned == 0 and DIRECTIVE.search(line):
                tally.skipped += 1
            continue
        match = TAP_LINE.match(line)
        if not match:
            continue
        seen += 1
        directive = DIRECTIVE.search(match.group(2))
        if directive:
            tally.skipped += 1
        elif match.group(1):
            tally.fail(f"{name}: {match.group(2)}", tail(output))
        else:
            tally.passed += 1
    if planned is None and seen == 0:
        return None
    if planned is not None and seen < planned:
        tally.fail(f"{name}: ended after {seen} of {planned} tests", tail(output))
    return tally


def count_meson(path):
    tally = Tally()
    with open(path, encoding="utf-8", errors="replace") as log:
        for line in log:
            test = json.loads(line)
            name, result = test["name"], test["result"]
            stdout, stderr = test.get("stdout") or "", test.get("stderr") or ""
            output = stdout + "\n" + stderr
            one = count_tap(name, stdout, output)
            if one is None:
                one = Tally()
                if result in ("OK", "EXPECTEDFAIL"):
                    one.passed = 1
                elif result == "SKIP":
                    one.skipped = 1
                else:
                    one.fail(f"{name}: {result}", tail(output))
            elif one.skipped and result == "FAIL" and test.get("returncode") == 0 and not one.failures:
                pass  # cmocka's skip() writes "not ok N # SKIP", which meson takes for a failure
            elif result not in ("OK", "SKIP", "EXPECTEDFAIL") and not one.failures:
                # All subtests passed, then the program crashed, leaked or hung.
                one.fail(f"{name}: {result} after its last test", tail(output))
            tally.add(one)
    return tally


def count_junit(path):
    tally = Tally()
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        name = f"{case.get('classname', '')}::{case.get('name', '')}".strip(":")
        bad = case.find("failure")
        if bad is None:
            bad = case.find("error")
        if bad is not None:
            tally.fail(name, tail(bad.text or bad.get("message")))
        elif case.find("skipped") is not None:
            tally.skipped += 1
        else:
            tally.passed += 1
    return tally


def count(path):
    try:
        tally = count_junit(path) if path.endswith(".xml") else count_meson(path)
    except (OSError, ValueError, KeyError, ElementTree.ParseError) as error:
        tally = Tally()
        tally.fail(f"{path}", f"no result: {error}")
        return tally
    if not tally.passed and not tally.failures and not tally.skipped:
        tally.fail(path, "no test ran")
    return tally


def main(arguments):
    total = Tally()
    width = max((len(a.partition("=")[0]) for a in arguments), default=0)
    for argument in arguments:
        name, _, path = argument.partition("=")
        tally = count(path)
        print(f"  {name:<{width}}  {tally}")
        total.add(tally)
    for name, text in total.failures:
        print(f"\nFAILED {name}")
        if text:
            print("    " + text.replace("\n", "\n    "))
    print()
    if total.skipped:
        print(f"{total.skipped} skipped: what they need is not here")
    print(total.verdict())
    return 1 if total.failures or not arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
