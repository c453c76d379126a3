"""Runs the functions whose names begin with test_ and reports in TAP."""
import subprocess
import sys
import traceback


def oracle(command, data):
    """Output of the program under test and its exit status."""
    p = subprocess.run([sys.argv[1], command], input=data, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, timeout=60)
    if p.returncode not in (0, 3):
        raise AssertionError('exit %d: %s' % (p.returncode, p.stderr.decode(errors='replace')))
    return p.stdout, p.returncode


def run(names):
    tests = [(n, f) for n, f in sorted(names.items()) if n.startswith('test_')]
    print('1..%d' % len(tests))
    for i, (name, f) in enumerate(tests, 1):
        try:
            skipped = f()
            print('ok %d - %s%s' % (i, name, ' # SKIP ' + skipped if skipped else ''))
        except Exception:
            print('\n'.join('# ' + line for line in traceback.format_exc().splitlines()[-40:]))
            print('not ok %d - %s' % (i, name))
