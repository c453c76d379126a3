#!/usr/bin/python3
"""What an open session costs that does nothing: memory of the engine.

idle.py [--sessions N] [--state connected|ehlo|tls|tls12|used] [--most BYTES]

Starts build/relayd/relayd (or RELAYD_BUILD's) below a folder of its own, opens N
sessions, brings each into the state, waits, and divides the growth of the engine's
private memory (not the sockets', which are the kernel's). With --most it ends with 1
when a session costs more than that.

    connected   greeted, nothing said
    ehlo        EHLO said and answered
    used        one message sent, then idle
    tls, tls12  STARTTLS (1.3, or 1.2), EHLO, then idle
"""

import argparse
import asyncio
import os
import re
import resource
import ssl
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from lab import relayd as lab_relayd  # noqa: E402
from lab.sink import Sink  # noqa: E402


def private_bytes(pid):
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(1024 * int(n) for n in re.findall(r"^(?:Private_Dirty|Private_Clean|Swap): +(\d+) kB", text, re.M))


async def reply(reader):
    while True:
        line = await reader.readline()
        assert line, "closed"
        if line[3:4] != b"-":
            assert line[:1] in b"23", line
            return


async def say(reader, writer, text):
    writer.write(text)
    await reply(reader)


async def open_one(port, state, context, gate):
    async with gate:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reply(reader)
        if state == "connected":
            return reader, writer
        await say(reader, writer, b"EHLO idle.test\r\n")
        if state.startswith("tls"):
            await say(reader, writer, b"STARTTLS\r\n")
            await writer.start_tls(context)
            await say(reader, writer, b"EHLO idle.test\r\n")
        if state == "used":
            await say(reader, writer, b"MAIL FROM:<a@client.test>\r\n")
            await say(reader, writer, b"RCPT TO:<b@dest.test>\r\n")
            await say(reader, writer, b"DATA\r\n")
            await say(reader, writer, b"Subject: x\r\n\r\n" + b"x" * 70 + b"\r\n.\r\n")
        return reader, writer


async def measure(daemon, count, state):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if state == "tls12":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    gate = asyncio.Semaphore(64)
    # Code, caches and threads are there from the first sessions on.
    warm = await asyncio.gather(*(open_one(daemon.port, state, context, gate) for _ in range(200)))
    await asyncio.sleep(1)
    before = private_bytes(daemon.engine())
    held = await asyncio.gather(*(open_one(daemon.port, state, context, gate) for _ in range(count)))
    await asyncio.sleep(2)
    after = private_bytes(daemon.engine())
    for _, writer in [*warm, *held]:
        writer.transport.abort()
    return (after - before) / count


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--sessions", type=int, default=10000)
    options.add_argument("--state", default="ehlo", choices=["connected", "ehlo", "tls", "tls12", "used"])
    options.add_argument("--most", type=int)
    args = options.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    if args.sessions + 500 > limit:
        sys.exit(f"{args.sessions} sessions need more than the {limit} descriptors there may be")
    with tempfile.TemporaryDirectory(prefix="relayd-") as folder:
        os.chmod(folder, 0o755)
        sink = Sink()
        daemon = lab_relayd.Relayd(
            Path(folder) / "r",
            limits=f"connections {args.sessions + 1000}; connections_per_client unlimited",
            extra=f"smarthost sink {{ host 127.0.0.1:{sink.port}; tls none }}",
            routes="route default via sink",
        ).start()
        try:
            each = asyncio.run(measure(daemon, args.sessions, args.state))
        finally:
            daemon.stop()
            sink.stop()
    print(f"{args.state}: {each:.0f} bytes a session ({args.sessions} sessions)")
    if args.most is not None and each > args.most:
        sys.exit(f"more than the {args.most} bytes that it may be")


if __name__ == "__main__":
    main()
