"""Sessions that do nothing cost next to nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from lab import RELAYD, relayd

SANITIZED = "-fsanitize=" in (RELAYD.parents[1] / "build.ninja").read_text()
TOOL = Path(__file__).resolve().parents[2] / "load" / "idle.py"


@pytest.mark.skipif(SANITIZED, reason="sanitizers have memory of their own for each allocation")
@pytest.mark.parametrize("state, most", [("ehlo", 6 * 1024), ("used", 6 * 1024), ("tls", 24 * 1024), ("tls12", 24 * 1024)])
def test_an_idle_session_costs_little(state, most):
    if relayd.available():
        pytest.skip(relayd.available())
    done = subprocess.run(
        [sys.executable, TOOL, "--sessions", "1000", "--state", state, "--most", str(most)],
        capture_output=True, text=True, timeout=140,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
