"""The count at the end of ./check: nothing that went wrong may be left out."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TALLY = Path(__file__).parents[2] / "tally.py"


def tally(tmp_path, *tests, text=None, name="testlog.json"):
    log = tmp_path / name
    log.write_text(text if text is not None else "".join(json.dumps(t) + "\n" for t in tests))
    done = subprocess.run([sys.executable, TALLY, f"x={log}"], capture_output=True, text=True)
    return done.stdout.splitlines()[-1], done.returncode


def tap(stdout, result="OK", code=None):
    return {"name": "base/x", "stdout": stdout, "result": result, "returncode": code}


@pytest.mark.parametrize(
    "test, line, code",
    [
        (tap("1..2\nok 1 - a\nok 2 - b\n"), "2 passed, 0 failed", 0),
        (tap("1..2\nok 1 - a\nnot ok 2 - b\n", "FAIL"), "1 passed, 1 failed", 1),
        (tap("1..2\nok 1 - a\nok 2 - b # SKIP no net\n"), "1 passed, 0 failed", 0),
        (tap("1..0 # SKIP nothing to do\n", "SKIP"), "0 passed, 0 failed", 0),
        # cmocka's skip() says "not ok": the program's exit code tells whether that is all.
        (tap("1..2\nok 1 - a\nnot ok 2 # SKIP b\n", "FAIL", 0), "1 passed, 0 failed", 0),
        (tap("1..2\nok 1 - a\nnot ok 2 # SKIP b\n", "FAIL", 1), "1 passed, 1 failed", 1),
        # Died in the middle, after the last test, or without a word.
        (tap("1..3\nok 1 - a\n", "ERROR"), "1 passed, 1 failed", 1),
        (tap("1..1\nok 1 - a\n", "ERROR"), "1 passed, 1 failed", 1),
        (tap("1..1\nok 1 - a\n", "TIMEOUT"), "1 passed, 1 failed", 1),
        (tap("", "ERROR"), "0 passed, 1 failed", 1),
        (tap("no TAP here\n", "OK"), "1 passed, 0 failed", 0),
        (tap("no TAP here\n", "FAIL"), "0 passed, 1 failed", 1),
        # Two groups of tests in one program.
        (tap("1..1\nok 1 - a\n1..1\nok 1 - b\n"), "2 passed, 0 failed", 0),
    ],
)
def test_programs(tmp_path, test, line, code):
    assert tally(tmp_path, test) == (line, code)


JUNIT = """<testsuites><testsuite>
<testcase classname="a" name="one"/>
<testcase classname="a" name="two"><failure message="m">why</failure></testcase>
<testcase classname="a" name="three"><error message="m">why</error></testcase>
<testcase classname="a" name="four"><skipped message="m"/></testcase>
</testsuite></testsuites>"""


def test_junit(tmp_path):
    assert tally(tmp_path, text=JUNIT, name="t.xml") == ("1 passed, 2 failed", 1)


def test_what_is_skipped_stands_before_the_last_line(tmp_path):
    log = tmp_path / "t.xml"
    log.write_text(JUNIT)
    done = subprocess.run([sys.executable, TALLY, f"x={log}"], capture_output=True, text=True)
    assert done.stdout.splitlines()[-2].startswith("1 skipped")


@pytest.mark.parametrize("text", ["", "{", "<testsuites"])
@pytest.mark.parametrize("name", ["t.xml", "testlog.json"])
def test_a_run_that_died_is_a_failure(tmp_path, text, name):
    assert tally(tmp_path, text=text, name=name) == ("0 passed, 1 failed", 1)


def test_a_missing_log_is_a_failure(tmp_path):
    done = subprocess.run(
        [sys.executable, TALLY, f"x={tmp_path}/none.json"], capture_output=True, text=True
    )
    assert (done.stdout.splitlines()[-1], done.returncode) == ("0 passed, 1 failed", 1)
