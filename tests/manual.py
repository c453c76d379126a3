#!/usr/bin/python3
"""The manual and the default configuration against the program.

manual.py RELAYD SOURCE_ROOT PAGE...

Every directive of the schema stands in relayd.conf(5), with nothing there that
the schema lacks; the examples of the page and etc/relayd.conf, as it stands
and with all that is commented out, pass "relayd -n"; the pages pass mandoc's
lint. Prints TAP.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

ROW = re.compile(r'\{ "(\w*)", "(\w+)",((?:[^{}"]|"[^"]*")*?)(?:conf_take|settings_take|NULL)')


class Tap:
    def __init__(self):
        self.count = 0
        self.failed = 0

    def check(self, name, problems):
        self.count += 1
        self.failed += bool(problems)
        print(f"{'not ok' if problems else 'ok'} {self.count} - {name}")
        for line in problems:
            print(f"# {line}")

    def skip(self, name, why):
        self.count += 1
        print(f"ok {self.count} - {name} # SKIP {why}")


def directives(schema):
    """{(parent, name)} that this release takes."""
    rows = {(parent, name): "CONF_LATER" in rest for parent, name, rest in ROW.findall(schema)}
    taken = {row for row, later in rows.items() if not later}
    return {(parent, name) for parent, name in taken if not parent or ("", parent) in taken}


def documented(page):
    """{(parent, name)} of the page's tags, by the nesting of its lists."""
    found = set()
    stack = []
    for line in page.splitlines():
        if line.startswith(".Bl"):
            stack.append(None)
        elif line.startswith(".El"):
            stack.pop()
        elif line.startswith(".It Ic "):
            name = line.split()[2]
            stack[-1] = name
            found.add((stack[0] if len(stack) > 1 else "", name))
    return found


def examples(page):
    """Each piece of configuration shown behind a directive, and the first of the page."""
    text = page.split(".Sh DIAGNOSTICS")[0].split(".Sh ENVIRONMENT")[0]
    blocks = re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed", text, re.M | re.S)
    lines = re.findall(r"^\.Dl (.*)", text, re.M)
    return blocks + lines


def uncommented(text):
    """What stands behind a '#' without the space of prose."""
    return re.sub(r"^#(?=\S|    )", "", text, flags=re.M)


def check_config(relayd, text, folder):
    # An example may name a smart host that another one shows.
    if re.search(r"\bvia inner\b", text) and "smarthost inner" not in text:
        text += "\nsmarthost inner { host mail.inner.example; tls none }\n"
    if "hostname" not in re.sub(r"#.*", "", text):
        text = "hostname mail.example.com\n" + text
    path = os.path.join(folder, "relayd.conf")
    os.makedirs(os.path.join(folder, "conf.d"), exist_ok=True)
    with open(path, "w") as f:
        f.write(text)
    env = {k: v for k, v in os.environ.items() if not k.startswith("RELAYD_")}
    run = subprocess.run([relayd, "-n", "-c", path], capture_output=True, text=True, env=env)
    if run.returncode == 0 and not run.stderr:
        return []
    return [f"exit {run.returncode} for:"] + text.splitlines() + run.stderr.splitlines()


def main():
    relayd, root, pages = sys.argv[1], sys.argv[2], sys.argv[3:]
    tap = Tap()

    def read(name):
        with open(os.path.join(root, name)) as f:
            return f.read()

    known = directives(read("relayd/settings_schema.c"))
    page = read("doc/man/relayd.conf.5")
    shown = documented(page) - {("", "include")}
    tap.check("the schema is read", [] if len(known) > 50 else [f"only {len(known)} directives found"])
    tap.check("every directive is in the manual", [" ".join(d) for d in sorted(known - shown)])
    tap.check("every directive of the manual exists", [" ".join(d) for d in sorted(shown - known)])

    defaults = read("etc/relayd.conf")
    with tempfile.TemporaryDirectory() as folder:
        for i, text in enumerate(examples(page)):
            tap.check(f"example {i + 1} of relayd.conf(5)", check_config(relayd, text, folder))
        tap.check("etc/relayd.conf", check_config(relayd, defaults, folder))
        tap.check("etc/relayd.conf, all of it", check_config(relayd, uncommented(defaults), folder))
        # The check can fail.
        tap.check("a mistake is found", [] if check_config(relayd, "listen nowhere", folder) else ["it is not"])

    for name in pages:
        title = f"{os.path.basename(name)} is well-formed"
        if shutil.which("mandoc") is None:
            tap.skip(title, "mandoc is not installed")
            continue
        run = subprocess.run(["mandoc", "-Tlint", "-W", "warning", name], capture_output=True, text=True)
        tap.check(title, run.stdout.splitlines())

    print(f"1..{tap.count}")
    return tap.failed != 0


if __name__ == "__main__":
    sys.exit(main())
