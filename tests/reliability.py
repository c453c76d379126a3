#!/usr/bin/python3
"""doc/reliability.md lists the tests that hold each of its rows, and is right.

reliability.py SOURCE_ROOT          compares, prints TAP
reliability.py SOURCE_ROOT --write  brings the lists up to date

A test belongs to a row by its name: test_14_killed_between_... in Python and C,
'2_powercut' in a meson.build. A row of the document begins with "| 14 |"; its
last cell lists the tests or begins with "Not yet" and says what is missing.
"""

import re
import sys
from pathlib import Path

NAMES = {
    "*.py": re.compile(r"^\s*def (test_(\d+)_\w+)\(", re.MULTILINE),
    "*.c": re.compile(r"^static void (test_(\d+)_\w+)\(", re.MULTILINE),
    "meson.build": re.compile(r"^\s*'((\d+)_\w+)':", re.MULTILINE),
}


def tests_of(root):
    """Row number to the lines that name its tests, by file."""
    rows = {}
    for pattern, names in NAMES.items():
        for path in sorted((root / "tests").rglob(pattern)):
            found = {}
            for name, number in names.findall(path.read_text(errors="replace")):
                found.setdefault(int(number), []).append(name)
            for number, tests in found.items():
                rows.setdefault(number, []).append(f"`{path.relative_to(root / 'tests')}`: {', '.join(tests)}")
    return {number: "; ".join(sorted(files)) for number, files in rows.items()}


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def main():
    root = Path(sys.argv[1])
    document = root / "doc" / "reliability.md"
    lines = document.read_text().splitlines()
    tests = tests_of(root)
    results, seen = [], set()
    for at, line in enumerate(lines):
        row = re.match(r"\| (\d+) \|", line)
        if not row:
            continue
        number = int(row[1])
        said = cells(line)[-1]
        has = tests.get(number)
        missing = said.startswith("Not yet")
        results.append((f"row {number}", (said == has) if has else missing, number in seen))
        seen.add(number)
        if has:
            lines[at] = "| " + " | ".join(cells(line)[:-1] + [has]) + " |"
    for number in sorted(set(tests) - seen):
        results.append((f"row {number}, which the document does not have", False, False))
    if sys.argv[2:] == ["--write"]:
        document.write_text("\n".join(lines) + "\n")
        return
    print(f"1..{len(results)}")
    for count, (name, good, twice) in enumerate(results, 1):
        print(f"{'ok' if good and not twice else 'not ok'} {count} {name}")
        if not good:
            print("# run: tests/reliability.py . --write")


if __name__ == "__main__":
    main()
