"""A real Postfix as next hop that wants TLS."""

from lab import mail
from lab.client import send


def postfix(lab, name, **options):
    certificate, key = lab.pki.files(name)
    return lab.postfix(
        smtpd_tls_security_level="encrypt",
        smtpd_tls_cert_file=certificate,
        smtpd_tls_key_file=key,
        smtpd_tls_loglevel="1",
        smtpd_client_restrictions="static:HOLD",
        **options,
    )


def relay(lab, server, tls):
    return lab.relayd(
        extra=f"smarthost out {{ host 127.0.0.1:{server.port}; tls {tls} }}",
        routes="route default via out",
        env=lab.pki.env,
    )


def post(daemon):
    reply = send(daemon.port, "a@client.test", ["b@dest.test"], mail.message())
    assert reply.code == 250, reply
    return reply.queue_id


def test_verified(lab):
    server = postfix(lab, "127.0.0.1")
    daemon = relay(lab, server, "verified")
    queue_id = post(daemon)
    daemon.wait_event(queue_id, "delivered")
    assert b"with ESMTPS" in server.held(1)[0]
    daemon.wait_log(r"Verified TLS connection established to 127\.0\.0\.1")


def test_tls_1_2(lab):
    server = postfix(lab, "127.0.0.1", smtpd_tls_mandatory_protocols="TLSv1.2")
    daemon = relay(lab, server, "verified")
    queue_id = post(daemon)
    daemon.wait_event(queue_id, "delivered")
    daemon.wait_log(r"Verified TLS connection established to .*: TLSv1\.2 with cipher")


def test_another_name(lab):
    server = postfix(lab, "other.test")
    daemon = relay(lab, server, "verified")
    reply = daemon.wait_event(post(daemon), "deferred")[0]["reply"]
    assert reply["status"] == "4.7.5" and "mismatch" in reply["text"]
    assert server.queued("hold", "incoming", "active") == []
