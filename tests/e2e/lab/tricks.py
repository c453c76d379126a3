"""Addresses that look like ours and lead elsewhere: what open relays fell for.

Ours is dest.test; alias.test has aliases, catch.test a catch-all, listed.test
a list of its recipients.
"""

TRICKS = [
    "b@elsewhere.test",
    "b%elsewhere.test@dest2.test",
    "elsewhere.test!b@dest2.test",
    "@dest.test:b@elsewhere.test",
    "@dest.test,@elsewhere.test:b@elsewhere.test",
    '"b@elsewhere.test"@other.test',
    "b@dest.test@elsewhere.test",
    "b@elsewhere.test@dest.test.",
    "b@[127.0.0.1]",
    "b@[192.0.2.1]",
    "b@[IPv6:::1]",
    "b@127.0.0.1",
    "b@dest.test.elsewhere.test",
    "b@xdest.test",
    "b@sub.dest.test",
    "b@dest.test\x00.elsewhere.test",
    "b@dest.test\x00@elsewhere.test",
    "b@elsewhere.test\x00@dest.test",
    "b@dest.test\x01",
    "b@dést.test",
    "b@dest。test@elsewhere.test",
    "b@dest.test,c@elsewhere.test",
    "b@dest.test> <c@elsewhere.test",
    "b@dest.test\t,c@elsewhere.test",
    "b",
    "",
    "@dest.test",
    "b@",
]

# What routes inside the local part of a domain that has aliases or a list.
INSIDE = [
    f"{local}@{domain}"
    for local in ("b%elsewhere.test", "elsewhere.test!b", '"b@elsewhere.test"', '"b%elsewhere.test"', "b+%elsewhere.test")
    for domain in ("alias.test", "catch.test", "listed.test")
]
