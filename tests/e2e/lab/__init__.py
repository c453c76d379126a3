"""A laboratory on loopback: relayd, its neighbours, and hands to poke them with.

relayd.py   the daemon under test and relayctl
dns.py      a real authoritative server (nsd) and a scriptable liar
sink.py     a scriptable SMTP server, the far end, with TLS and logins
pki.py      certificates, good and bad
between.py  a man in the middle whose certificate clients accept
client.py   a scriptable SMTP client that sends exactly the bytes it is told
postfix.py  a real Postfix on high ports, and smtp-source and smtp-sink
dovecot.py  a real Dovecot, for its logins
tools.py    swaks and curl
submit.py   clients that log in: by hand, msmtp, nodemailer
frontends.py  PROXY headers by hand, and HAProxy
mail.py     messages to send, bounces to read
tricks.py   addresses that once fooled relays
disk.py     disks that are slow, bad or full
network.py  a host behind a cable that can be pulled
memory.py   a limit of memory
clock.py    a wall clock that the test sets
wait.py     deadlines instead of sleeps; ports.py: ports nobody else takes
process.py  starting and stopping programs
"""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
BUILD = Path(os.environ.get("RELAYD_BUILD", ROOT / "build")).resolve()
PEERS = ROOT / "build-peers"

RELAYD = BUILD / "relayd" / "relayd"
RELAYCTL = BUILD / "relayctl" / "relayctl"


def unpack(*packages):
    """Peers that are used unpacked; returns the root they are below."""
    subprocess.run([ROOT / "tests" / "unpack", PEERS, *packages], check=True)
    return PEERS / "root"


def library_path(root):
    """LD_LIBRARY_PATH for programs below an unpacked root."""
    lib = root / "usr" / "lib"
    found = [str(d) for d in sorted(lib.glob("*-linux-gnu")) if d.is_dir()]
    return ":".join(found + [str(lib / "postfix"), str(lib)])
