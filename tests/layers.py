#!/usr/bin/python3
"""Includes point one way: down the layers, never up.

layers.py SOURCE_ROOT

Reads every #include of the folders below. An include may name a header of the
same folder or of one that stands before it in LAYERS, written from the source
root ("queue/queue.h"), that exists. A library's header may be included only in
the folders that wrap the library. Prints TAP: a test for each folder, and
first tests on made-up trees that show that violations are found.
"""

import os
import re
import sys
import tempfile

# Folder and the third-party headers that belong to it. The order is the order
# of the layers: a folder uses only those before it.
LAYERS = {
    "base": ["isa-l.h", "isa-l/", "uthash.h"],
    "conf": [],
    "mail": ["idn2.h"],
    "net": ["uv.h", "openssl/", "seccomp.h"],
    "store": ["lmdb.h"],
    "dns": ["ares.h", "ares_dns.h", "ares_version.h"],
    "auth": ["gsasl.h", "crypt.h", "opendkim/", "spf2/", "libpsl.h"],
    "smtp": [],
    "queue": [],
    "delivery": [],
    "control": ["microhttpd.h", "jansson.h"],
    "mailbox": ["zlib.h"],
    "relayd": ["systemd/sd-daemon.h"],
    "relayctl": ["curl/", "jansson.h"],
}
EVERYWHERE = ["utlist.h", "utarray.h"]

# The C library and the kernel. A header that is neither here nor above is
# refused until somebody has said where it belongs.
SYSTEM_FOLDERS = ("sys/", "netinet/", "arpa/", "linux/", "net/if", "asm/")
SYSTEM = set(
    """
    assert ctype dirent dlfcn endian errno fcntl float fnmatch ftw getopt glob grp ifaddrs inttypes
    langinfo libgen limits locale malloc math netdb poll pthread pwd regex sched semaphore setjmp
    signal spawn stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string
    strings sysexits syslog termios threads time ucontext unistd utime wchar wctype alloca byteswap
    err execinfo features getopt mntent resolv link elf
    """.split()
)

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:<([^>\n]*)>|"([^"\n]*)"|(\S.*))', re.M)
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)


def belongs(header, names):
    return any(header == n or (n.endswith("/") and header.startswith(n)) for n in names)


def is_system(header):
    return header.startswith(SYSTEM_FOLDERS) or (header.endswith(".h") and header[:-2] in SYSTEM)


def angle_problem(folder, header):
    if belongs(header, EVERYWHERE) or belongs(header, LAYERS[folder]) or is_system(header):
        return None
    owners = [f for f, names in LAYERS.items() if belongs(header, names)]
    if owners:
        return f"<{header}> is for {' and '.join(owners)} only"
    return f"<{header}> is of no known library; tests/layers.py says which folder wraps which"


def quote_problem(root, folder, header):
    above = header.split("/")[0]
    order = list(LAYERS)
    if "/" not in header or ".." in header.split("/"):
        return f'"{header}" is not written from the source root'
    if above not in LAYERS:
        return f'"{header}" is in no layer'
    if order.index(above) > order.index(folder):
        return f'"{header}" points up: {above} uses {folder}'
    if not os.path.exists(os.path.join(root, header)):
        return f'"{header}" does not exist'
    return None


def strip_comments(text):
    """With the lines kept, so that numbers stay right."""
    return COMMENT.sub(lambda m: "\n" * m.group().count("\n"), text)


def check_file(root, folder, path):
    with open(path, encoding="utf-8", errors="replace") as f:
        text = strip_comments(f.read())
    problems = []
    for m in INCLUDE.finditer(text):
        angle, quote, other = m.groups()
        if other is not None:
            problem = f"#include {other.strip()} names no file"
        elif angle is not None:
            problem = angle_problem(folder, angle)
        else:
            problem = quote_problem(root, folder, quote)
        if problem:
            line = text.count("\n", 0, m.start()) + 1
            problems.append(f"{os.path.relpath(path, root)}:{line}: {problem}")
    return problems


def check_folder(root, folder):
    """Problems, and how many files were read."""
    problems = []
    count = 0
    for at, folders, files in os.walk(os.path.join(root, folder)):
        folders.sort()
        for name in sorted(files):
            if name.endswith((".c", ".h")):
                count += 1
                problems += check_file(root, folder, os.path.join(at, name))
    return problems, count


# What a made-up file in a folder may not hold, and what it may.
REFUSED = [
    ("base", '#include "conf/conf.h"', "points up"),
    ("conf", '#include "relayd/settings.h"', "points up"),
    ("smtp", '#include "queue/queue.h"', "points up"),
    ("relayd", '#include "relayctl/main.h"', "points up"),
    ("base", '  #  include "mail/path.h"', "points up"),
    ("queue", '#include "tests/unit/check.h"', "is in no layer"),
    ("queue", '#include "queue.h"', "not written from the source root"),
    ("queue", '#include "queue/../relayd/settings.h"', "not written from the source root"),
    ("queue", '#include "base/nothing.h"', "does not exist"),
    ("queue", "#include <lmdb.h>", "for store only"),
    ("queue", "#include <uthash.h>", "for base only"),
    ("queue", "#include <uv.h>", "for net only"),
    ("dns", "#include <uv.h>", "for net only"),
    ("smtp", "#include <openssl/ssl.h>", "for net only"),
    ("mail", "#include <jansson.h>", "for control and relayctl only"),
    ("relayd", "#include <opendkim/dkim.h>", "for auth only"),
    ("relayd", "#include <sqlite3.h>", "no known library"),
    ("queue", "#include MACRO", "names no file"),
    ("queue", '/* two\nlines */\n#include "relayd/settings.h"', "bad.c:3:"),
]
ALLOWED = [
    ("queue", '#include "queue/queue.h"'),
    ("queue", '#include "base/base.h"'),
    ("relayctl", '#include "relayd/settings.h"'),
    ("relayctl", "#include <jansson.h>"),
    ("store", "#include <lmdb.h>"),
    ("net", "#include <openssl/ssl.h>"),
    ("base", "#include <uthash.h>"),
    ("queue", "#include <stdio.h>\n#include <sys/stat.h>\n#include <netinet/in.h>"),
    ("base", '/* #include "relayd/settings.h" */\n// #include <lmdb.h>'),
]


def made_up(folder, text):
    with tempfile.TemporaryDirectory() as root:
        for header in ("base/base.h", "conf/conf.h", "mail/path.h", "queue/queue.h", "relayd/settings.h",
                       "relayctl/main.h"):
            os.makedirs(os.path.join(root, os.path.dirname(header)), exist_ok=True)
            open(os.path.join(root, header), "w").close()
        os.makedirs(os.path.join(root, folder), exist_ok=True)
        with open(os.path.join(root, folder, "bad.c"), "w") as f:
            f.write(text + "\n")
        return check_folder(root, folder)[0]


def main():
    root = sys.argv[1]
    results = []
    for folder, text, want in REFUSED:
        found = made_up(folder, text)
        good = len(found) == 1 and want in found[0]
        results.append((f"found in {folder}: {text!r}", [] if good else [f"said {found}"]))
    for folder, text in ALLOWED:
        results.append((f"allowed in {folder}: {text!r}", made_up(folder, text)))
    for folder in LAYERS:
        problems, count = check_folder(root, folder)
        if count:
            results.append((f"{folder}: {count} files", problems))
        elif os.path.isdir(os.path.join(root, folder)):
            results.append((f"{folder}: no files # SKIP nothing there yet", []))
    strangers = sorted(
        name
        for name in os.listdir(root)
        if os.path.isdir(os.path.join(root, name))
        and name not in LAYERS
        and name not in ("tests", "bench", "doc", "etc")
        and not name.startswith((".", "build"))
        and any(f.endswith((".c", ".h")) for f in os.listdir(os.path.join(root, name)))
    )
    results.append(("every folder with code is a layer", [f"{name}/ is none" for name in strangers]))

    print(f"1..{len(results)}")
    for n, (name, problems) in enumerate(results, 1):
        print(f"{'not ok' if problems else 'ok'} {n} - {name}")
        for line in problems:
            print(f"# {line}")
    return any(problems for _, problems in results)


if __name__ == "__main__":
    sys.exit(main())
