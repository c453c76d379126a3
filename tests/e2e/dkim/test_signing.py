"""Mail from a domain with keys leaves signed, judged by python3-dkim."""

import base64
import os
import re
import signal
import subprocess

import pytest

from lab import mail, submit, wait
from lab.client import Client, send

dkim = pytest.importorskip("dkim")

FROM = "me@example.test"


def records(daemon, domain="example.test"):
    """{name: record} of what relayctl prints."""
    return {key["name"]: key["record"] for key in daemon.json("dkim", domain)["keys"]}


def verify(content, keys):
    """What each signature in front says, True or why not."""
    check = dkim.DKIM(content)
    count = sum(1 for name, _ in check.headers if name.lower() == b"dkim-signature")

    def txt(name, timeout=5):
        text = keys.get(name.decode().rstrip("."))
        return text.encode() if text else None

    found = []
    for n in range(count):
        try:
            found.append(check.verify(n, dnsfunc=txt))
        except dkim.DKIMException as e:
            found.append(str(e))
    return found


def signatures(content):
    header = content.partition(b"\r\n\r\n")[0]
    return re.findall(rb"^DKIM-Signature:[^\r\n]*(?:\r\n[ \t][^\r\n]*)*", header, re.MULTILINE)


def post(daemon, content, sender=FROM, recipients="b@dest.test"):
    reply = send(daemon.port, sender, recipients, content)
    assert reply.code == 250, reply
    return reply.queue_id


def message(body="Hello.\r\n", sender=FROM, **fields):
    return mail.message(body=body, sender=sender, **fields)


def signing(lab, domain="domain example.test { dkim auto }", **options):
    sink = lab.sink()
    extra = options.pop("extra", "")
    daemon = lab.relay_to(
        sink,
        extra=f"{domain}\n{extra}",
        **options,
    )
    return daemon, sink


def sign_workers(daemon):
    from lab.process import descendants, name_of

    return [pid for pid in descendants(daemon.process.pid) if "sign" in name_of(pid)]


KINDS = {
    "7-bit": message(),
    "8-bit": message("Grüße, здравствуй\r\n", MIME_Version="1.0", Content_Type="text/plain; charset=utf-8"),
    "dots": message(".\r\n..\r\n.hidden\r\n...\r\n"),
    "folded header": message(X_Note="a\r\n b").replace(b"Subject: hello", b"Subject: a\r\n\tfolded   one \t"),
    "empty body": message(""),
    "blank lines": message("\r\n\r\n\r\n"),
    "trailing blanks": message("x \t \r\n\r\n\r\n"),
    "duplicate fields": b"Subject: first\r\nFrom: other@example.test\r\n" + message(),
    "body file": message(mail.big_body(700_000)),
    "10 MiB": message(mail.big_body(10 << 20)),
    "large header": message(X_Filler="\r\n ".join(["y" * 900] * 100)),
}


@pytest.mark.asan
def test_all_kinds_verify(lab):
    daemon, sink = signing(lab)
    keys = records(daemon)
    assert len(keys) == 2
    for name, content in KINDS.items():
        post(daemon, content)
        (got,) = sink.wait(1)
        sink.messages.clear()
        assert verify(got.content, keys) == [True, True], name
        assert mail.after_trace(got.content.split(signatures(got.content)[1])[1].lstrip(b"\r\n")) == content, name


@pytest.mark.asan
def test_without_a_final_line_end(lab):
    daemon, sink = signing(lab)
    content = message("no end")
    with Client(daemon.port) as client:
        assert "CHUNKING" in client.ehlo().text
        assert client.command(f"MAIL FROM:<{FROM}>").code == 250
        assert client.command("RCPT TO:<b@dest.test>").code == 250
        client.send(f"BDAT {len(content)} LAST\r\n".encode() + content)
        assert client.reply().code == 250
    (got,) = sink.wait(1)
    assert verify(got.content, records(daemon)) == [True, True]


def test_who_is_signed_for(lab):
    daemon, sink = signing(
        lab,
        domain="domain example.test { dkim auto }\ndomain other.test { relay }",
        trusted="127.0.0.2/32",
    )

    def fields_of(content, sender, source="127.0.0.2", to="b@other.test"):
        sink.messages.clear()
        assert send(daemon.port, sender, to, content, source=source).code == 250
        (got,) = sink.wait(1)
        return len(signatures(got.content))

    assert fields_of(message(), "bounces@elsewhere.test") == 2, "the author's domain counts"
    assert fields_of(message(sender="a@elsewhere.test"), FROM) == 0, "and only that"
    assert fields_of(message(sender="a@sub.example.test"), FROM) == 0, "not those below it"
    assert fields_of(b"Subject: no author\r\n\r\nx\r\n", "a@elsewhere.test") == 0
    assert fields_of(message(), FROM, source="127.0.0.1") == 0, "a stranger is not vouched for"


def test_a_user_is_not_signed_for_as_another(lab):
    """Two customers on one server: neither leaves in the other's name."""
    daemon, sink = signing(
        lab,
        domain="domain a.test { dkim auto }\ndomain b.test { dkim auto }",
        listen="role submission; tls none",
    )
    submit.add_user(daemon, "me@a.test", submit.PASSWORD)
    submit.add_user(daemon, "all@a.test", submit.PASSWORD, "--senders", "any")
    keys = records(daemon, "a.test") | records(daemon, "b.test")

    def signed_by(author, sender="me@a.test", user="me@a.test"):
        """The domain whose signatures are good, and what the trace says of it."""
        sink.messages.clear()
        with submit.Submitter(daemon.port) as client:
            client.ehlo()
            assert client.login(user).code == 235
            reply = client.transaction(sender, "b@dest.test", message(sender=author))
        assert reply.code == 250, reply
        (got,) = sink.wait(1)
        domains = {re.search(rb"[; \t]d=([^;]+)", s)[1].decode() for s in signatures(got.content)}
        assert verify(got.content, keys) == [True, True] * len(domains)
        trace = re.findall(r" signer +(.*)", daemon.ctl("trace", reply.queue_id).stdout)
        return domains, trace

    assert signed_by("me@a.test") == ({"a.test"}, [])
    assert signed_by("me@a.test", sender="") == ({"a.test"}, [])
    domains, (why,) = signed_by("x@b.test")
    assert domains == {"a.test"}
    assert why == "a.test, the domain of the envelope's sender: x@b.test in From is not owned by user me@a.test"
    domains, (why,) = signed_by("x@b.test", sender="")
    assert domains == set() and why == "none: x@b.test in From is not owned by user me@a.test"
    assert signed_by("x@b.test", user="all@a.test") == ({"b.test"}, [])


def test_a_retry_does_not_sign_again(lab):
    daemon, sink = signing(lab)
    sink.on("eod", ["451 4.3.0 later", "451 4.3.0 later"])
    queue_id = post(daemon, message())
    wait.until(lambda: len(sink.seen) >= 1, "the first attempt")
    daemon.restart()  # what is in memory is not what is used
    sink.wait(1, timeout=30)
    daemon.wait_event(queue_id, "delivered")
    assert len(sink.seen) == 3
    first = signatures(sink.seen[0].content)
    assert len(first) == 2
    assert all(signatures(m.content) == first for m in sink.seen)
    assert verify(sink.messages[0].content, records(daemon)) == [True, True]


def test_several_sites_get_the_same_signatures(lab):
    one, two = lab.sink(), lab.sink()
    daemon = lab.relayd(
        extra=f"smarthost one {{ host 127.0.0.1:{one.port}; tls none }}\n"
        f"smarthost two {{ host 127.0.0.1:{two.port}; tls none }}\ndomain example.test {{ dkim auto }}",
        routes="route to one.test via one\nroute default via two",
    )
    post(daemon, message(), recipients=["a@one.test", "b@two.test"])
    (first,), (second,) = one.wait(1), two.wait(1)
    assert signatures(first.content) == signatures(second.content)


@pytest.mark.asan
@pytest.mark.parametrize("size", [100, 700_000])
def test_the_seven_bit_variant_is_signed_anew(lab, size):
    daemon, sink = signing(lab)
    sink.on("ehlo", "250-sink\r\n250 SIZE 100000000")
    body = ("Grüße\r\n" * (size // 8 + 1)).encode()
    post(daemon, message(body, MIME_Version="1.0", Content_Type="text/plain; charset=utf-8"))
    (got,) = sink.wait(1, timeout=30)
    assert b"quoted-printable" in got.content
    assert verify(got.content, records(daemon)) == [True, True]


def test_size_counts_the_signatures(lab):
    daemon, sink = signing(lab)
    post(daemon, message())
    (got,) = sink.wait(1)
    assert f"SIZE={len(got.content)}" in got.mail_args


def test_notices_are_signed(lab):
    daemon, sink = signing(lab, domain="domain relay.test { dkim auto }", hostname="mx.relay.test")
    sink.on("rcpt", lambda s, arg: "550 5.1.1 nobody" if b"nobody" in arg else None)
    post(daemon, message(sender="a@elsewhere.test"), sender="a@elsewhere.test", recipients="nobody@dest.test")
    (notice,) = sink.wait(1, timeout=30)
    assert notice.mail_from == ""
    assert verify(notice.content, records(daemon, "relay.test")) == [True, True]
    assert b"d=relay.test" in signatures(notice.content)[0]


def test_1_killed_workers_lose_nothing(lab):
    daemon, sink = signing(lab)
    keys = records(daemon)
    for n in range(60):
        post(daemon, message(f"message {n}\r\n"))
        if n % 10 == 5:
            for pid in sign_workers(daemon):
                os.kill(pid, signal.SIGKILL)
    sink.wait(60, timeout=60)
    daemon.wait_empty(60)
    assert len(sink.messages) == 60
    for got in sink.messages:
        assert verify(got.content, keys) == [True, True]
    status = wait.until(lambda: all_running(daemon.json("status")["signing"]), "the workers are back", 60)
    assert status["signed"] == 60 and status["waiting"] == status["active"] == 0
    assert status["lost"] >= 1 and status["recycled"] == 0  # killed as it starts, one is in no figure
    for name in ("signed", "lost", "recycled"):
        assert sum(worker[name] for worker in status["workers"]) == status[name], name
    count = len(status["workers"])
    text = daemon.ctl("status").stdout
    assert re.search(rf"^signing +60 signed, {status['failed']} failed, 0 waiting, 0 active\n +{count} of {count} workers", text, re.M)


def all_running(signing):
    return signing if all(worker["running"] for worker in signing["workers"]) else None


def make_key(path, kind="rsa"):
    if kind == "rsa":
        args = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]
    else:
        args = ["-algorithm", "ED25519"]
    subprocess.run(["openssl", "genpkey", *args, "-out", path], check=True, capture_output=True)
    path.chmod(0o600)


def test_keys_from_files(lab, folder):
    make_key(folder / "s1.pem")
    make_key(folder / "s2.pem", "ed25519")
    daemon, sink = signing(
        lab,
        domain=f"domain example.test {{ dkim selector s1 key_file {folder}/s1.pem\n"
        f"dkim selector 2026 key_file {folder}/s2.pem }}",
    )
    keys = records(daemon)
    assert set(keys) == {"s1._domainkey.example.test", "2026._domainkey.example.test"}
    post(daemon, message())
    (got,) = sink.wait(1)
    assert verify(got.content, keys) == [True, True]
    assert b"s=s1" in signatures(got.content)[0] and b"a=rsa-sha256" in signatures(got.content)[0]
    assert b"s=2026" in signatures(got.content)[1] and b"a=ed25519-sha256" in signatures(got.content)[1]


@pytest.mark.parametrize("fault", ["missing", "broken", "for everybody"])
def test_51_a_key_that_cannot_be_used_defers(lab, folder, fault):
    path = folder / "s1.pem"
    if fault == "broken":
        path.write_text("no key at all\n")
        path.chmod(0o600)
    elif fault == "for everybody":
        make_key(path)
        path.chmod(0o644)
    daemon, sink = signing(lab, domain=f"domain example.test {{ dkim selector s1 key_file {path} }}")
    queue_id = post(daemon, message())
    other = post(daemon, message(sender="a@elsewhere.test"))
    daemon.wait_event(other, "delivered")
    (event, *_) = daemon.wait_event(queue_id, "deferred")
    assert "can't be signed" in str(event) and "s1.pem" in str(event), event
    assert "4.7.5" in str(event)
    daemon.wait_log(rf"{queue_id}: to=<b@dest\.test>, relay=none, .*dsn=4\.7\.5, status=deferred \(can't be signed: ")
    assert len(sink.messages) == 1
    # mended: it goes at the next attempt
    path.unlink(missing_ok=True)
    make_key(path)
    daemon.ctl("reload")
    daemon.wait_event(queue_id, "delivered", 30)
    assert verify(sink.messages[-1].content, records(daemon)) == [True]


def test_auto_keys_stay_and_are_secret(lab):
    daemon, sink = signing(lab)
    folder = daemon.state / "keys"
    before = records(daemon)
    files = sorted(folder.iterdir())
    assert len(files) == 2
    assert folder.stat().st_mode & 0o777 == 0o700
    for path in files:
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.stat().st_uid == os.getuid()
    pem = files[0].read_text().splitlines()[1]
    daemon.restart()
    assert records(daemon) == before
    assert sorted(folder.iterdir()) == files
    assert pem not in daemon.log
    # A domain that comes with a reload gets its own.
    daemon.write_config(extra=daemon.extra + "\ndomain second.test { dkim auto }")
    daemon.ctl("reload")
    assert len(records(daemon, "second.test")) == 2
    assert records(daemon) == before
    post(daemon, message(sender="a@second.test"))
    (got,) = sink.wait(1)
    assert verify(got.content, records(daemon, "second.test")) == [True, True]


def test_a_dsn_of_a_header_that_cannot_be_signed(lab):
    """It waits, and gives up when its time is over; others pass."""
    daemon, sink = signing(lab, retry="first 1s; factor 1; max 1s; doubt 3s; expire 2s; warn 5m")
    queue_id = post(daemon, b"From: me@example.test\r\nSubject: a\0b\r\n\r\nx\r\n")
    post(daemon, message())
    (event, *_) = daemon.wait_event(queue_id, "deferred")
    assert "the field Subject holds a NUL" in str(event)
    daemon.wait_event(queue_id, "expired", 30)
    wait.until(lambda: len(sink.messages) == 2, "the good message and the notice", 30)
