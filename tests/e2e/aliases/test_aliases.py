"""Who an address of ours stands for, from RCPT to the next hop and the trace."""

import subprocess

import pytest

from lab import RELAYD, mail, wait
from lab.client import Client, send

STRANGER = "127.0.0.2"

ALIASES = """\
# as in /etc/aliases
root: admin@far.test
team: joe, mary@far.test,
    root
joe: joe@far.test
staff: :include:{folder}/staff
loop: pool
pool: loop
"two words": joe
"""

VIRTUAL = """\
info@virtual.test desk@far.test
sales@virtual.test info, joe@local.test
@old.test @dest.test
self@dest.test self@dest.test, copy@far.test
"""

DOMAINS = """
postmaster pm@far.test
virtual_aliases {folder}/virtual
domain local.test {{ aliases {folder}/aliases }}
domain virtual.test
domain old.test
domain dest.test {{ relay; alias info desk@far.test; alias plus+listed special@far.test; alias plus plain@far.test }}
domain catch.test {{ catch_all all@far.test; alias one one@far.test }}
domain listed.test {{ relay; recipients bob; recipients_file {folder}/list }}
"""


@pytest.fixture
def aliased(lab, tmp_path):
    (tmp_path / "aliases").write_text(ALIASES.format(folder=tmp_path))
    (tmp_path / "virtual").write_text(VIRTUAL)
    (tmp_path / "list").write_text("sue@listed.test OK\nann\n")
    (tmp_path / "staff").write_text("".join(f"s{i}@far.test\n" for i in range(300)))
    sink = lab.sink()
    daemon = lab.relayd(
        trusted="none",
        extra=DOMAINS.format(folder=tmp_path) + f"smarthost sink {{ host 127.0.0.1:{sink.port}; tls none }}",
        routes="route default via sink",
    )
    return daemon, sink


def received(sink, count):
    """All recipients that so many came for, however the message was split."""
    came = lambda: sorted(r for m in list(sink.messages) for r in m.recipients)
    wait.until(lambda: len(came()) >= count, lambda: f"{count} recipients: {came()}", 20)
    return came()


LEADS = [
    ("root@local.test", ["admin@far.test"]),
    ("TEAM@Local.test", ["admin@far.test", "joe@far.test", "mary@far.test"]),
    ("joe+tag@local.test", ["joe@far.test"]),
    ('"two words"@local.test', ["joe@far.test"]),
    ("info@virtual.test", ["desk@far.test"]),
    ("sales@virtual.test", ["desk@far.test", "joe@far.test"]),
    ("info@old.test", ["desk@far.test"]),
    ("some+body@old.test", ["some+body@dest.test"]),
    ("self@dest.test", ["copy@far.test", "self@dest.test"]),
    ("anybody@dest.test", ["anybody@dest.test"]),
    ("plus+listed@dest.test", ["special@far.test"]),
    ("plus+other@dest.test", ["plain@far.test"]),
    ("whoever@catch.test", ["all@far.test"]),
    ("one@catch.test", ["one@far.test"]),
    ("Bob@listed.test", ["Bob@listed.test"]),
    ("sue+x@listed.test", ["sue+x@listed.test"]),
    ("ann@listed.test", ["ann@listed.test"]),
    ("postmaster@listed.test", ["pm@far.test"]),
    ("Abuse@local.test", ["pm@far.test"]),
    ("mailer-daemon@virtual.test", ["pm@far.test"]),
    ("postmaster@dest.test", ["postmaster@dest.test"]),
    ("postmaster", ["pm@far.test"]),
]


@pytest.mark.parametrize("recipient, want", LEADS)
def test_where_it_leads(aliased, recipient, want):
    daemon, sink = aliased
    reply = send(daemon.port, "a@anywhere.test", recipient, mail.message(), source=STRANGER)
    assert reply.code == 250, reply
    assert received(sink, len(want)) == want


@pytest.mark.parametrize(
    "recipient, code, status",
    [
        ("nobody@local.test", 550, "5.1.1"),
        ("nobody+tag@local.test", 550, "5.1.1"),
        ("mary@listed.test", 550, "5.1.1"),
        ("bob+x@virtual.test", 550, "5.1.1"),
        ("loop@local.test", 550, "5.4.6"),
        ("root%elsewhere.test@local.test", 550, "5.7.1"),
        ("admin@far.test", 550, "5.7.1"),
    ],
)
def test_60_refused_in_the_session(aliased, recipient, code, status):
    """No backscatter: whoever is unknown is refused at RCPT and no notice is made."""
    daemon, sink = aliased
    with Client(daemon.port, source=STRANGER) as client:
        client.ehlo()
        client.command("MAIL FROM:<forged@victim.test>")
        reply = client.command(f"RCPT TO:<{recipient}>")
        assert (reply.code, reply.enhanced) == (code, status), reply
    assert daemon.queue() == []
    assert sink.seen == []


@pytest.mark.asan
def test_one_recipient_of_many_ways_gets_one_copy(aliased):
    daemon, sink = aliased
    with Client(daemon.port, source=STRANGER) as client:
        client.ehlo()
        many = ["team@local.test", "root@local.test", "joe@local.test", "sales@virtual.test"]
        reply = client.transaction("a@anywhere.test", many, mail.message())
        assert reply.code == 250
    assert received(sink, 4) == ["admin@far.test", "desk@far.test", "joe@far.test", "mary@far.test"]
    daemon.wait_empty()
    kinds = daemon.event_kinds(reply.queue_id)
    assert kinds.count("aliased") == 2 and kinds.count("delivered") == 4


def test_the_trace_explains_it(aliased):
    daemon, sink = aliased
    reply = send(daemon.port, "a@anywhere.test", "team@local.test", mail.message(), source=STRANGER)
    sink.wait(1)
    assert "for <team@local.test>" in " ".join(sink.seen[0].content.decode("latin1").split())
    text = daemon.ctl("trace", "team@local.test").stdout
    assert "team@local.test stands for joe@far.test, mary@far.test, admin@far.test" in text
    assert reply.queue_id in text


def test_a_list_of_hundreds(aliased):
    daemon, sink = aliased
    reply = send(daemon.port, "a@anywhere.test", "staff@local.test", mail.message(), source=STRANGER)
    assert reply.code == 250
    assert received(sink, 300) == sorted(f"s{i}@far.test" for i in range(300))
    assert "more" in daemon.ctl("trace", "staff@local.test").stdout


def test_too_many_targets(lab):
    targets = ", ".join(f"t{i}@far.test" for i in range(4))
    daemon = lab.relayd(
        trusted="none",
        limits="alias_recipients 4",
        extra=f"domain a.test {{ relay; alias many {targets}, t5@far.test; alias fit {targets} }}",
        routes="route default hold",
    )
    with Client(daemon.port) as client:
        client.ehlo()
        client.command("MAIL FROM:<a@b.test>")
        reply = client.command("RCPT TO:<many@a.test>")
        assert (reply.code, reply.enhanced) == (550, "5.2.4")
        assert client.command("RCPT TO:<fit@a.test>").code == 250
        reply = client.command("RCPT TO:<other@a.test>")
        assert (reply.code, reply.enhanced) == (452, "4.5.3")
    daemon.wait_log(r"<many@a\.test>: its aliases have too many targets; too many is <t5@far\.test>")


def test_routes_see_the_targets(lab):
    daemon = lab.relayd(
        trusted="none",
        extra="domain a.test { relay; alias mixed x@hold.test, y@no.test; alias none y@no.test }",
        routes='route to no.test reject "not there"\nroute to hold.test hold\nroute default direct',
    )
    reply = send(daemon.port, "a@b.test", "mixed@a.test", mail.message())
    assert reply.code == 250
    assert list(daemon.recipients(reply.queue_id)) == ["x@hold.test"]
    reply = send(daemon.port, "a@b.test", "none@a.test", mail.message())
    assert (reply.code, reply.enhanced) == (550, "5.7.1")


def test_a_reload_takes_new_aliases_or_none(aliased, tmp_path):
    daemon, _ = aliased
    (tmp_path / "aliases").write_text("root: |program\n")
    result = daemon.ctl("reload", check=False)
    assert result.returncode != 0
    assert "relayd runs no programs" in result.stderr + result.stdout
    with Client(daemon.port, source=STRANGER) as client:
        client.ehlo()
        client.command("MAIL FROM:<a@anywhere.test>")
        assert client.command("RCPT TO:<team@local.test>").code == 250
    (tmp_path / "aliases").write_text("fresh: admin@far.test\n")
    daemon.ctl("reload")
    with Client(daemon.port, source=STRANGER) as client:
        client.ehlo()
        client.command("MAIL FROM:<a@anywhere.test>")
        assert client.command("RCPT TO:<fresh@local.test>").code == 250
        assert client.command("RCPT TO:<team@local.test>").code == 550


def test_the_check_names_loops(aliased):
    daemon, _ = aliased
    result = subprocess.run([RELAYD, "-n", "-c", daemon.file], capture_output=True, text=True)
    assert result.returncode == 0
    assert 'warning: "loop" leads in a circle, which closes at loop@local.test' in result.stderr
