"""Row 24: a queue of a release to come under this one's programs."""

import pytest

from lab import mail
from lab.client import send

MARK = b"format\x00\x00\x00"  # key and value stand side by side in their page


def set_format(daemon, number):
    """Whatever it was; the number before."""
    file = daemon.state / "queue" / "data.mdb"
    content = bytearray(file.read_bytes())
    at, before = content.find(MARK), None
    while at >= 0:
        before, content[at + len(MARK)] = content[at + len(MARK)], number
        at = content.find(MARK, at + 1)
    assert before, "no mark of the format"
    file.write_bytes(content)
    return before


def test_24_a_later_format_is_refused_and_left_alone(lab):
    sink = lab.sink()
    sink.on("mail", "451 4.3.0 not yet")
    daemon = lab.relay_to(sink)
    assert send(daemon.port, "a@client.test", "b@dest.test", mail.message()).code == 250
    daemon.stop()
    ours = set_format(daemon, 200)
    before = (daemon.state / "queue" / "data.mdb").read_bytes()
    daemon.expect_clean = False
    with pytest.raises(AssertionError):
        daemon.start(timeout=4)
    assert "written by a later release of relayd" in daemon.process.log and "install that release" in daemon.process.log
    daemon.stop()
    done = daemon.ctl("queue", check=False)
    assert done.returncode == 69 and "written by a later release of relayd" in done.stderr, done
    assert (daemon.state / "queue" / "data.mdb").read_bytes() == before
    set_format(daemon, ours)
    daemon.expect_clean = True
    sink.on("mail", None)
    daemon.start()
    sink.wait(1)
    daemon.wait_empty()
