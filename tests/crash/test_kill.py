"""The short form of kill.py: 80 rounds."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import kill  # noqa: E402
from lab import relayd  # noqa: E402


@pytest.fixture(scope="module")
def result():
    if relayd.available():
        pytest.skip(relayd.available())
    outcome = kill.run(rounds=80, seed=2026, say=print)
    print(outcome)
    return outcome


def test_load_and_kills_happened(result):
    assert result.acknowledged > 500
    assert min(result.kills.values()) >= 10
    assert result.logins > 20


def test_1_nothing_acknowledged_is_lost(result):
    assert result.lost == []


def test_1_nothing_arrives_torn(result):
    assert result.torn == []
    assert result.unknown == []


def test_1_duplicates_are_at_most_those_in_flight(result):
    assert result.duplicates <= result.duplicates_allowed


def test_nothing_bounces(result):
    assert result.bounced == []


def test_all_ends_are_clean(result):
    assert result.reports == []


class Sent:
    def __init__(self, sent, acknowledged):
        self.sent, self.acknowledged, self.logins = sent, acknowledged, 0


@pytest.mark.parametrize(
    "arrivals, log, problem",
    [
        ([("a", "whole"), ("b", "whole"), ("", "whole")], "", None),
        ([("a", "whole"), ("b", "whole"), ("c", "whole")], "", None),  # c had no 250: may arrive
        ([("a", "whole")], "", "1 lost"),
        ([("a", "whole"), ("b", "torn")], "", "1 torn"),
        ([("a", "whole"), ("b", "whole"), ("", "bare")], "", "1 torn"),
        ([("a", "whole"), ("b", "whole"), ("x", "whole")], "", "1 unknown"),
        ([("a", "whole"), ("b", "whole")] * (2 + kill.SITE_CONNECTIONS), "", "duplicates"),
        ([("a", "whole"), ("b", "whole")], "x: to=<r@d>, status=bounced (no)", "1 bounced"),
    ],
)
def test_the_judge_sees(arrivals, log, problem):
    outcome = kill.Result(rounds=1)
    outcome.kills["engine"] = 1
    kill.judge(outcome, [Sent(["a", "b", "c"], ["a", "b"])], arrivals, log)
    found = "; ".join(outcome.problems())
    assert (problem in found) if problem else found == ""
