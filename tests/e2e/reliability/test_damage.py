"""Row 12: a damaged data file under the real programs."""

import json
import random
import shutil

import pytest

from lab import mail, wait
from lab.client import send

PAGE = 4096
SIZES = [100, 1500, 5000, 40_000, 700_000]


@pytest.fixture
def waiting(lab):
    """A daemon that is stopped, and {id: content} of what waits in its queue."""
    sink = lab.sink()
    sink.on("rcpt", lambda session, argument: None if b"@gone.test" in argument else "451 4.3.0 not yet")
    daemon = lab.relay_to(sink, retry="first 1h; factor 1; max 1h; doubt 1h; expire 5d; warn never")
    ids = []
    for n in range(30):
        recipient = f"r{n}@gone.test" if n % 3 == 2 else f"r{n}@dest.test"
        content = mail.message(body=mail.big_body(SIZES[n % len(SIZES)], f"damage{n}"))
        reply = send(daemon.port, "a@client.test", recipient, content)
        assert reply.code == 250, reply
        if n % 3 != 2:
            ids.append(reply.queue_id)
    sink.wait(10)
    wait.until(lambda: len(daemon.queue()) == 20, "the rest is delivered")
    contents = {}
    for queue_id in ids:
        contents[queue_id], code = daemon.cat(queue_id)
        assert code == 0
    daemon.stop()
    return daemon, contents


def salvage(daemon, name, code):
    folder = daemon.directory / name
    done = daemon.ctl("salvage", folder, check=False)
    assert done.returncode in code, f"{done.returncode}\n{done.stderr}\n{done.stdout}"
    return folder, done


def came(folder, contents):
    """The ids of what came out whole; it is what was accepted."""
    found = {}
    for path in folder.glob("**/*.eml"):
        envelope = json.loads(path.with_suffix(".json").read_text())
        assert envelope["whole"] and envelope["sender"] == "a@client.test"
        if path.stem in contents:
            assert path.read_bytes() == contents[path.stem], path.stem
        found[path.stem] = envelope
    return found


def test_12_salvage_of_a_good_store_is_all_that_waits(waiting):
    daemon, contents = waiting
    folder, done = salvage(daemon, "out", {0})
    found = came(folder, contents)
    assert set(found) == set(contents)
    assert all(len(e["recipients"]) == 1 and e["recipients"][0]["address"].endswith("@dest.test") for e in found.values())
    assert "20 messages whole" in done.stdout and "not damaged" in done.stdout
    again = daemon.ctl("salvage", folder, check=False)  # what is there is not touched
    assert again.returncode == 73 and "not there yet" in again.stderr
    daemon.start()
    running = daemon.ctl("salvage", daemon.directory / "other", check=False)
    assert running.returncode == 75 and "stop it first" in running.stderr


@pytest.mark.parametrize("pages", [1, 10, 100])
def test_12_salvage_of_a_damaged_store(waiting, pages):
    """No crash, nothing torn, the same each time; the store is not changed."""
    daemon, contents = waiting
    file = daemon.state / "queue" / "data.mdb"
    good = file.read_bytes()
    dice = random.Random(pages)
    used = [n for n in range(len(good) // PAGE) if any(good[n * PAGE : (n + 1) * PAGE])]
    total = 0
    for trial in range(4):
        bad = bytearray(good)
        for _ in range(pages):
            at = dice.choice(used) * PAGE
            for _ in range(dice.randint(1, 8)):
                bad[at + dice.randrange(dice.choice([64, PAGE]))] ^= dice.randint(1, 255)
        file.write_bytes(bad)
        folder, _ = salvage(daemon, f"out{trial}", {0, 65})
        total += len(came(folder, contents).keys() & contents.keys())
        assert file.read_bytes() == bad
        shutil.rmtree(folder)
    file.write_bytes(good)
    assert total > 0


def test_12_a_start_on_a_store_that_is_none_says_what_to_do(waiting):
    daemon, _ = waiting
    file = daemon.state / "queue" / "data.mdb"
    good = file.read_bytes()
    file.write_bytes(bytes(2 * PAGE) + good[2 * PAGE :])
    daemon.expect_clean = False
    with pytest.raises(AssertionError):
        daemon.start(timeout=5)
    assert "is damaged: stop relayd, and \"relayctl salvage FOLDER\"" in daemon.process.log
    daemon.stop()
    file.write_bytes(good)
    daemon.expect_clean = True
    daemon.start()
    assert len(daemon.queue()) == 20
