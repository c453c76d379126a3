"""Row 35: descriptors run out."""

import os
import socket
import time

from lab import mail, wait
from lab.client import Client, send
from lab.process import stat

DESCRIPTORS = 256
CLIENTS = 1000


def processor_seconds(pid):
    fields = stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def crowd(port, count):
    """So many clients that connect and then say nothing; those over wait in the kernel."""
    clients = []
    for _ in range(count):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", port))
        clients.append(client)
    return clients


def test_35_accepting_pauses_and_deliveries_go_on(lab):
    sink = lab.sink()
    daemon = lab.relay_to(sink, limits="connections_per_client unlimited", under=["prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}"])
    engine = daemon.engine()
    with Client(daemon.port) as early:
        early.ehlo()
        clients = crowd(daemon.port, CLIENTS)
        daemon.wait_log("accepting pauses")
        used, began = processor_seconds(engine), time.monotonic()

        # Whoever is in is served, and what is taken leaves: these need descriptors.
        large = mail.message(body=mail.big_body(700_000))
        for n in range(10):
            content = large if n % 2 else mail.message(subject=str(n))
            reply = early.transaction("a@client.test", [f"b{n}@dest.test"], content)
            assert reply.code == 250, reply
        sink.wait(10)
        daemon.wait_empty()
        wait.until(lambda: time.monotonic() - began > 2, "two seconds of shortage", 10)
        seconds = time.monotonic() - began
        used = processor_seconds(engine) - used
        assert used < seconds / 2, f"{used:.2f} s of processor in {seconds:.2f} s: it does not wait"
        assert len(os.listdir(f"/proc/{engine}/fd")) < DESCRIPTORS

        for client in clients:
            client.close()
    reply = send(daemon.port, "a@client.test", "b@dest.test", mail.message())
    assert reply.code == 250, reply
    sink.wait(11)
    assert not daemon.process.crash_report()
