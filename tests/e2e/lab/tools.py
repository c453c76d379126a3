"""swaks and curl as clients."""

import re
import subprocess


def swaks(port, sender, recipients, *args, data=None, host="127.0.0.1"):
    command = [
        "swaks",
        "--server", host, "--port", str(port),
        "--from", sender, "--to", recipients if isinstance(recipients, str) else ",".join(recipients),
        "--helo", "swaks.test",
        *args,
    ]  # fmt: skip
    if data is not None:
        command += ["--data", str(data)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def curl(port, sender, recipients, file, *args, host="127.0.0.1"):
    command = ["curl", "-sS", "-v", f"smtp://{host}:{port}/curl.test", "--mail-from", sender]
    for recipient in [recipients] if isinstance(recipients, str) else recipients:
        command += ["--mail-rcpt", recipient]
    command += ["--upload-file", str(file), *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def queue_id(output):
    """The id in a transcript that holds relayd's "queued as"."""
    match = re.search(r"queued as ([0-9A-Fa-f]+)", output)
    return match.group(1) if match else None
