"""Logging in at a smart host: every mechanism, refusals, and what is never told."""

import os

import pytest

from lab import mail, wait
from lab.client import send

PASSWORD = "c0rrect-horse"
TOKEN = "ya29.t0ken-1"


def post(daemon, recipient="b@dest.test"):
    reply = send(daemon.port, "a@client.test", [recipient], mail.message())
    assert reply.code == 250, reply
    return reply.queue_id


def target(lab, **options):
    options.setdefault("logins", {"relay@client.test": PASSWORD})
    return lab.sink(tls=lab.pki.server("127.0.0.1"), **options)


def relay(lab, sink, secret=f"password {PASSWORD}", more="", **options):
    return lab.relayd(
        extra=f"smarthost out {{ host 127.0.0.1:{sink.port}; user relay@client.test; {secret}; {more} }}",
        routes="route default via out",
        env=lab.pki.env,
        **options,
    )


def script(lab, name, text):
    path = lab.folder / name
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def deferred(daemon, queue_id):
    return daemon.wait_event(queue_id, "deferred")[0]["reply"]


@pytest.mark.parametrize("mechanisms,used", [
    ("PLAIN", "PLAIN"),
    ("LOGIN", "LOGIN"),
    ("LOGIN PLAIN", "PLAIN"),
    ("SCRAM-SHA-256", "SCRAM-SHA-256"),
    ("PLAIN CRAM-MD5 SCRAM-SHA-256 GSSAPI", "SCRAM-SHA-256"),
    ("SCRAM-SHA-256-PLUS SCRAM-SHA-1 LOGIN", "LOGIN"),
])
def test_mechanisms(lab, mechanisms, used):
    sink = target(lab, mechanisms=mechanisms)
    daemon = relay(lab, sink)  # PLUS is offered and not spoken: 504, and on to the next
    post(daemon)
    message = sink.wait(1)[0]
    assert message.login == "relay@client.test" and message.tls
    assert sink.sessions[-1].mechanism == used
    assert sink.violations == [] and PASSWORD not in daemon.log


def test_only_allowed_mechanisms(lab):
    sink = target(lab, mechanisms="PLAIN LOGIN SCRAM-SHA-256")
    post(relay(lab, sink, more="auth LOGIN"))
    sink.wait(1)
    assert sink.sessions[0].mechanism == "LOGIN"


def test_a_password_file(lab):
    path = lab.folder / "secret"
    path.write_text(PASSWORD + "\n")
    path.chmod(0o600)  # root's: the parent reads it
    sink = target(lab)
    post(relay(lab, sink, f"password_file {path}"))
    assert sink.wait(1)[0].login


def test_a_wrong_password_defers_and_is_told(lab):
    sink = target(lab)
    daemon = relay(lab, sink, "password hunter2hunter2")
    queue_id = post(daemon)
    reply = deferred(daemon, queue_id)
    assert reply["code"] == 535
    assert reply["text"] == "login with PLAIN refused: 5.7.8 who are you?"
    wait.until(lambda: sink.connections >= 2, "it is tried again")
    assert daemon.event_kinds(queue_id).count("bounced") == 0
    assert sink.seen == [] and all(not c.startswith(b"MAIL") for s in sink.sessions for c in s.commands)
    daemon.wait_log(r"smarthost out: 127\.0\.0\.1:\d+ fails: login with PLAIN refused")
    # It is put right by a reload: the mail goes.
    daemon.write_config(extra=daemon.extra.replace("hunter2hunter2", PASSWORD))
    daemon.ctl("reload")
    sink.wait(1, timeout=30)
    assert "hunter2" not in daemon.log and "aHVudGVy" not in daemon.log


def test_a_server_that_repeats_secrets(lab):
    sink = target(lab)
    sink.on("auth", lambda session, argument: b"500 no such command: AUTH " + argument + b"\r\n")
    daemon = relay(lab, sink)
    reply = deferred(daemon, post(daemon))
    assert reply["text"] == "login with PLAIN refused: no such command: AUTH PLAIN (secret)"
    assert PASSWORD not in daemon.ctl("queue", "--json").stdout


def test_no_login_without_tls(lab):
    sink = lab.sink(logins={"relay@client.test": PASSWORD}, auth_in_clear=True)
    daemon = relay(lab, sink, more="tls optional")
    reply = deferred(daemon, post(daemon))
    assert reply["text"] == "a login is configured, and it is not sent over a connection without TLS"
    wait.until(lambda: sink.connections >= 2, "it is tried again")
    assert all(not c.startswith(b"AUTH") for s in sink.sessions for c in s.commands)


def test_tls_that_fails_is_no_reason_to_log_in_without(lab):
    sink = lab.sink(tls=lab.pki.server("127.0.0.1"), logins={"relay@client.test": PASSWORD}, auth_in_clear=True)
    sink.on("handshake", b"garbage\r\n")
    daemon = relay(lab, sink, more="tls optional")
    deferred(daemon, post(daemon))
    wait.until(lambda: sink.connections >= 3, "it is tried again")
    assert all(not c.startswith(b"AUTH") for s in sink.sessions for c in s.commands)


def test_in_the_clear_to_a_program_of_this_machine(lab):
    sink = lab.sink(logins={"relay@client.test": PASSWORD}, auth_in_clear=True)
    post(relay(lab, sink, more="tls none"))
    assert sink.wait(1)[0].login


def test_no_login_offered(lab):
    sink = lab.sink(tls=lab.pki.server("127.0.0.1"))
    daemon = relay(lab, sink)
    assert "the server offers none" in deferred(daemon, post(daemon))["text"]


def test_connections_of_another_login_are_not_used(lab):
    """Two smart hosts at one server, and a reload that changes who we are."""
    sink = target(lab, logins={"relay@client.test": PASSWORD, "shop@client.test": "shop-pass"})
    daemon = lab.relayd(
        extra=f"smarthost one {{ host 127.0.0.1:{sink.port}; user relay@client.test; password {PASSWORD} }}\n"
        f"smarthost two {{ host 127.0.0.1:{sink.port}; user shop@client.test; password shop-pass }}",
        routes="route to shop.test via two\nroute default via one",
        delivery="loopback_mx allow; idle_timeout 1m",
        env=lab.pki.env,
    )
    post(daemon)
    sink.wait(1)
    post(daemon, "b@shop.test")
    sink.wait(2)
    post(daemon)
    sink.wait(3)
    daemon.write_config(
        extra=daemon.extra.replace("user relay@client.test; password " + PASSWORD, "user shop@client.test; password shop-pass")
    )
    daemon.ctl("reload")
    post(daemon)
    sink.wait(4)
    assert [m.login for m in sink.messages] == [
        "relay@client.test", "shop@client.test", "relay@client.test", "shop@client.test",
    ]
    assert sink.messages[0].connection == sink.messages[2].connection
    assert len({m.connection for m in sink.messages}) == 3


# -- tokens


def test_a_token_from_a_command(lab):
    sink = target(lab, logins=None, tokens={"relay@client.test": TOKEN}, mechanisms="PLAIN XOAUTH2")
    calls = lab.folder / "calls"
    calls.mkdir(mode=0o777)
    calls.chmod(0o777)
    command = script(lab, "token", f'mktemp {calls}/XXXXXX >/dev/null; echo "$1"; echo 3600\n')
    daemon = relay(
        lab, sink, f"token_command {command} {TOKEN}", delivery="loopback_mx allow; messages_per_connection 1"
    )
    for n in range(1, 4):
        post(daemon)
        sink.wait(n)
    assert {m.login for m in sink.messages} == {"relay@client.test"}
    assert len({m.connection for m in sink.messages}) == 3
    assert len(os.listdir(calls)) == 1  # kept until it ends
    assert TOKEN not in daemon.log


def test_a_token_from_a_file_is_read_anew(lab):
    sink = target(lab, logins=None, tokens={"relay@client.test": "second-token"}, mechanisms="XOAUTH2")
    path = lab.folder / "token"
    path.write_text("first-token\n")
    daemon = relay(lab, sink, f"token_file {path}")
    reply = deferred(daemon, post(daemon))
    assert reply["text"] == (
        'login with XOAUTH2 refused: 5.7.8 who are you? ({"status":"400","schemes":"Bearer"})'
    )
    path.write_text("second-token\n")
    assert sink.wait(1, timeout=30)[0].login


def test_a_token_command_that_fails(lab):
    sink = target(lab, logins=None, tokens={"relay@client.test": TOKEN}, mechanisms="XOAUTH2")
    good = lab.folder / "good"
    command = script(lab, "token", f'test -e {good} && exec echo {TOKEN}\necho "the grant was revoked" >&2; exit 3\n')
    daemon = relay(lab, sink, f"token_command {command}")
    queue_id = post(daemon)
    reply = deferred(daemon, queue_id)
    assert reply["text"] == f"{command} ended with status 3: the grant was revoked"
    assert sink.connections == 0  # nobody is called without a login
    assert "the grant was revoked" in daemon.ctl("status").stdout
    good.touch()
    assert sink.wait(1, timeout=40)[0].login
    daemon.wait_log("smarthost out: there is a token again")


def test_while_there_is_no_token_the_backup_gets_the_mail(lab):
    first, second = target(lab, mechanisms="XOAUTH2"), target(lab)
    daemon = lab.relayd(
        extra=f"smarthost first {{ host 127.0.0.1:{first.port}; user u; token_command /nowhere/token }}\n"
        f"smarthost second {{ host 127.0.0.1:{second.port}; user relay@client.test; password {PASSWORD} }}",
        routes="route default via first, second",
        env=lab.pki.env,
    )
    queue_id = post(daemon)
    assert second.wait(1)[0].login
    daemon.wait_event(queue_id, "delivered")
    assert "deferred" not in daemon.event_kinds(queue_id)
    daemon.wait_log(r"smarthost first: no token: /nowhere/token can't be run: No such file or directory")
