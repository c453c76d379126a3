"""The short form of loop.py: some of the points, others each day."""

import datetime
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import loop  # noqa: E402
from lab import relayd  # noqa: E402
from scenario import FarEnd, Lab, Outcome, Point, Sent  # noqa: E402

POINTS = 60
DAY = datetime.date.today().toordinal()


@pytest.fixture(scope="module")
def result():
    if relayd.available():
        pytest.skip(relayd.available())
    options = loop.arguments(["--points", str(POINTS), "--offset", str(DAY), "--rounds", "1"])
    outcome = loop.run(options)
    print("\n".join(outcome.table()))
    print(outcome.summary())
    return outcome


def test_calls_failed(result):
    assert len(result.visited) >= POINTS * 0.7
    assert {o.point.phase for o in result.visited} == set(loop.PHASES)
    assert len({o.point.kind for o in result.visited}) > 15
    assert sum(o.acknowledged for o in result.outcomes) > POINTS


def test_36_whatever_call_fails_nothing_is_lost_and_the_tree_works(result):
    assert [f"{point}: {text}" for point, text in result.failures] == []


class Message:
    def __init__(self, sent, mail_from="a@client.test", body=None, notice=b"1"):
        self.recipients, self.mail_from = sent.recipients, mail_from
        self.body = sent.body if body is None else body
        self.content = b"X-Token: %s\r\nMessage-ID: <%s>\r\n\r\n" % (sent.token.encode(), notice) + self.body


A = Sent("a", ["x@dest.test", "y@dest.test"])
B = Sent("b", ["no@dest.test"], bounces=True)
C = Sent("c", ["x@dest.test"])


@pytest.mark.parametrize(
    "arrived, may_repeat, problem",
    [
        ([Message(A), Message(B, "")], False, None),
        ([Message(A), Message(B, ""), Message(C)], False, None),  # had no 250: may arrive
        ([Message(A), Message(A), Message(B, "")], True, None),
        ([Message(A), Message(A), Message(B, "")], False, "2 times: a to x@dest.test"),
        ([Message(A)], True, "lost: b to bounce"),
        ([Message(B, "")], True, "lost: a to y@dest.test"),
        ([Message(A, body=b"cut"), Message(B, "")], True, "wrong: a"),
        ([Message(A, body=b"x" + A.body), Message(B, "")], True, "torn: a"),
        ([Message(A), Message(B, ""), Message(B, "", notice=b"2")], True, "2 notices about b"),
        ([Message(A), Message(B, ""), Message(Sent("d", ["z@dest.test"]))], True, "unknown: d"),
    ],
)
def test_the_judge_sees(arrived, may_repeat, problem):
    lab = Lab.__new__(Lab)
    lab.sink, lab.judged = FarEnd.__new__(FarEnd), 0
    lab.sink.messages, lab.sink.violations = arrived, []
    A.acknowledged = B.acknowledged = True
    outcome = Outcome(Point("work", "engine", "memory"))
    lab.judge([A, B, C], outcome, may_repeat)
    text = "; ".join(outcome.problems)
    assert (problem in text) if problem else text == ""
