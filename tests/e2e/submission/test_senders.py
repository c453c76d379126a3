"""A user sends anywhere, and in nobody's name but his own, however an address is spelled."""

import pytest

from lab import mail, ports
from lab.submit import USER, Submitter, add_user
from lab.tricks import INSIDE, TRICKS

LINES = ["starttls", "implicit"]
REFUSED = (500, 501, 553, 555)
PATIENT = "errors 10000; idle_commands 10000"


@pytest.fixture
def server(lab):
    """server("inside of the listeners", *options of relayctl user add): a relayd that keeps what it takes."""

    def make(listen="header_from any", *user_options, extra="", limits=PATIENT):
        implicit = ports.free()
        daemon = lab.relayd(
            listen=f"role submission; {listen}",
            extra=f"listen 127.0.0.1:{implicit} {{ role submission; tls implicit; {listen} }}\n{extra}",
            routes="route default hold",
            limits=limits,
        )
        daemon.implicit = implicit
        add_user(daemon, USER, "correct horse battery", *user_options)
        return daemon

    return make


def user_at(daemon, line):
    client = Submitter(daemon.implicit if line == "implicit" else daemon.port, greet=False)
    if line == "implicit":
        client.tls()
    assert client.reply().code == 220
    client.ehlo()
    if line == "starttls":
        client.starttls()
    assert client.login().code == 235
    return client


def sender_of(daemon, queue_id):
    return daemon.json("show", queue_id)["sender"]


@pytest.mark.asan
@pytest.mark.parametrize("line", LINES)
def test_10_no_trick_is_a_sender_of_his_domain(server, line):
    """He may send from all of dest.test; what only looks like it is not his, and being trusted changes nothing."""
    daemon = server("header_from any", "--senders", "own,dest.test")
    with user_at(daemon, line) as client:
        for sender in TRICKS + INSIDE:
            for args in ("", " SMTPUTF8"):
                reply = client.command(f"MAIL FROM:<{sender}>{args}")
                if sender == "":  # the null path is everybody's
                    assert reply.code == 250
                    client.command("RSET")
                    continue
                assert reply.code in REFUSED, (sender, args, reply)
                assert client.command("RCPT TO:<b@elsewhere.test>").code == 503
        assert client.transaction("any.body@DEST.test", "b@elsewhere.test", mail.message()).code == 250


# What RCPT makes of each for one who may send anywhere; the others are no addresses.
GOES_TO = {
    "b@elsewhere.test": "b@elsewhere.test",
    "b%elsewhere.test@dest2.test": "b%elsewhere.test@dest2.test",
    "elsewhere.test!b@dest2.test": "elsewhere.test!b@dest2.test",
    "@dest.test:b@elsewhere.test": "b@elsewhere.test",
    "@dest.test,@elsewhere.test:b@elsewhere.test": "b@elsewhere.test",
    '"b@elsewhere.test"@other.test': '"b@elsewhere.test"@other.test',
    "b@[127.0.0.1]": "b@[127.0.0.1]",
    "b@[192.0.2.1]": "b@[192.0.2.1]",
    "b@[IPv6:::1]": "b@[IPv6:::1]",
    "b@dest.test.elsewhere.test": "b@dest.test.elsewhere.test",
    "b@xdest.test": "b@xdest.test",
    "b@sub.dest.test": "b@sub.dest.test",
}


@pytest.mark.parametrize("line", LINES)
def test_10_a_user_sends_anywhere(server, line):
    """The address goes on as the next hop reads it, or is refused: nothing is guessed."""
    daemon = server()
    with user_at(daemon, line) as client:
        for recipient in TRICKS:
            assert client.command(f"MAIL FROM:<{USER}>").code == 250
            reply = client.command(f"RCPT TO:<{recipient}>")
            client.command("RSET")
            if recipient not in GOES_TO:
                assert reply.code in REFUSED, (recipient, reply)
                continue
            assert reply.code == 250, (recipient, reply)
            reply = client.transaction(USER, recipient, mail.message(sender=USER))
            assert list(daemon.recipients(reply.queue_id)) == [GOES_TO[recipient]]
            client.ehlo()


HIS = [
    "WEB@Shop.TEST",
    '"web"@shop.test',
    '"w\\eb"@shop.test',
    "@other.test:web@shop.test",
    "@boss.test,@other.test:web@shop.test",
    "web@shop。test",
    "web@ｓhop.test",
]

NOT_HIS = [
    "boss@shop.test",
    '"boss"@shop.test',
    '"b\\oss"@shop.test',
    "@shop.test:boss@shop.test",
    "@web@shop.test:boss@shop.test",
    "web@shop.test:boss@shop.test",
    "web@shop.test,boss@shop.test",
    "web@shop.test> <boss@shop.test",
    "web@shop.test> AUTH=<boss@shop.test",
    "web+boss@shop.test",
    "boss+web@shop.test",
    ".web@shop.test",
    "web.@shop.test",
    '".web"@shop.test',
    '" web"@shop.test',
    '"web "@shop.test',
    '""@shop.test',
    '"web@shop.test"@other.test',
    '"web@shop.test"@shop.test',
    "web%shop.test@other.test",
    "shop.test!web@other.test",
    "web@shop.test@other.test",
    "web@shop.test.",
    "web@.shop.test",
    "web@xshop.test",
    "web@sub.shop.test",
    "web@shop.test.other.test",
    "web@[127.0.0.1]",
    "web",
    "web@",
    "@shop.test",
    "web@shop.test\x00",
    "web\x00@shop.test",
    "boss@shop.test\x00web@shop.test",
    "web@shop.test\t",
    "wéb@shop.test",
    "wеb@shop.test",  # a Cyrillic letter
    "ｗeb@shop.test",
    "web@shoр.test",  # likewise
    "web@shop.tést",
]


@pytest.mark.parametrize("line", LINES)
def test_10_spellings_of_his_own_address_are_one(server, line):
    daemon = server()
    with user_at(daemon, line) as client:
        for sender in HIS:
            args = "" if sender.isascii() else "SMTPUTF8"
            reply = client.transaction(sender, "b@elsewhere.test", mail.message(sender=USER), mail_args=args)
            assert reply.code == 250, (sender, reply)
            assert sender_of(daemon, reply.queue_id).lower() == USER, sender


@pytest.mark.parametrize("line", LINES)
def test_10_no_spelling_makes_another_sender_his(server, line):
    daemon = server()
    with user_at(daemon, line) as client:
        for sender in NOT_HIS:
            for args in ("", " SMTPUTF8"):
                reply = client.command(f"MAIL FROM:<{sender}>{args}")
                assert reply.code in REFUSED, (sender, args, reply)
                assert client.command("RCPT TO:<b@elsewhere.test>").code == 503
    assert daemon.queue() == []


@pytest.mark.parametrize("line", LINES)
def test_a_rewritten_sender_is_judged_after_it(server, line):
    daemon = server(f"header_from any; sender_rewrite root@ boss@shop.test; sender_rewrite .internal {USER}")
    with user_at(daemon, line) as client:
        for sender in ("root@web1.internal", '"root"@shop.test', "@x.test:ROOT@web1.internal", "x@internal", "x@y.internal.test"):
            assert client.command(f"MAIL FROM:<{sender}>").code == 553, sender
        for sender in ("x@web1.internal", "@boss.test:x@WEB1.internal"):
            reply = client.transaction(sender, "b@elsewhere.test", mail.message(sender=USER))
            assert (reply.code, sender_of(daemon, reply.queue_id)) == (250, USER), sender


@pytest.mark.parametrize("line", LINES)
def test_auth_of_mail_names_nobody(server, line):
    """AUTH= (RFC 4954 section 5) is taken and forgotten: a user vouches for nobody."""
    daemon = server()
    with user_at(daemon, line) as client:
        reply = client.transaction(USER, "b@elsewhere.test", mail.message(sender=USER), mail_args="AUTH=boss@shop.test")
        assert (reply.code, sender_of(daemon, reply.queue_id)) == (250, USER)
        assert client.command("MAIL FROM:<boss@shop.test> AUTH=web@shop.test").code == 553
    assert "boss@shop.test" not in daemon.ctl("show", reply.queue_id, "--json").stdout


HIS_FROM = [
    f"From: {USER}",
    "From: WEB@Shop.TEST",
    'FROM: "boss@shop.test" <web@shop.test>',
    "From: web@shop.test (boss@shop.test)",
    "From: (x)\r\n web (boss) @ shop.test",
    'From: "web"@shop.test',
    "From: Shop: web@shop.test, WEB@SHOP.TEST;",
    "From: =?utf-8?q?boss=40shop.test?= <web@shop.test>",
]

NOT_HIS_FROM = [
    "From: boss@shop.test",
    "from: boss@shop.test",
    "From : boss@shop.test",
    "From:boss@shop.test",
    "From:\r\n boss@shop.test",
    'From: "b\\oss"@shop.test',
    "From: web@shop.test <boss@shop.test>",
    'From: "web@shop.test" <boss@shop.test>',
    "From: (web@shop.test) boss@shop.test",
    "From: boss@shop.test (web@shop.test)",
    "From: <@web.test:boss@shop.test>",
    "From: <web@shop.test>, <boss@shop.test>",
    "From: web@shop.test, boss@shop.test",
    "From: web@shop.test\r\n , boss@shop.test",
    "From: Shop: web@shop.test, boss@shop.test;",
    "From: boss (x) @ (y) shop.test",
    f"From: {USER}\r\nFrom: boss@shop.test",
    f"From: boss@shop.test\r\nFrom: {USER}",
    f"From: {USER}\r\nfrom : boss@shop.test",
    "From: web@shop.test@other.test",
    "From: web@shop.test.other.test",
    "From: web@sub.shop.test",
    'From: "web@shop.test"@other.test',
    "From: wеb@shop.test",
    "From: boss",
]


@pytest.mark.parametrize("line", LINES)
def test_from_in_the_header(server, line):
    daemon = server("header_from owned")
    with user_at(daemon, line) as client:
        for field in HIS_FROM + NOT_HIS_FROM:
            content = f"{field}\r\nTo: b@elsewhere.test\r\nSubject: x\r\n\r\ny\r\n"
            reply = client.transaction(USER, "b@elsewhere.test", content)
            assert (reply.code == 250) == (field in HIS_FROM), (field, reply)
            assert reply.code in (250, 553), (field, reply)
    assert len(daemon.queue()) == len(HIS_FROM)
