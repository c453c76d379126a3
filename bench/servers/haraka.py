"""Haraka, of npm: its outbound queue, with a few lines of plugin for the way.

It syncs each queue file, though not the folder in which it gets its name. To
hold is outbound's "disabled". One process, as it comes.
"""

import json
import shutil
import subprocess

from lab import PEERS, ROOT, ports
from lab.client import until_greeted
from lab.process import Process
from servers.base import Server

# Everybody may relay; the way of a domain comes from config/ways.json.
PLUGIN = """\
exports.hook_rcpt = function (next, connection) { connection.relaying = true; next(OK); };
exports.hook_get_mx = function (next, hmail, domain) {
  const ways = this.config.get('ways.json');
  next(OK, ways[domain] || ways['*']);
};
"""

INSTALLED = PEERS / "npm" / "node_modules" / "Haraka"


class HarakaServer(Server):
    name = "haraka"

    @staticmethod
    def missing():
        if shutil.which("npm") is None or shutil.which("node") is None:
            return "npm and node are not installed"
        done = subprocess.run([ROOT / "tests" / "npm", PEERS / "npm", "Haraka"], capture_output=True, text=True)
        return f"npm does not bring Haraka: {done.stderr.strip()[-200:]}" if done.returncode else None

    def __init__(self, place, setting):
        self.place, self.setting = place / "haraka", setting
        self.port = ports.free()
        self.process = None
        config = self.place / "config"
        config.mkdir(parents=True)
        (self.place / "plugins").mkdir()
        (self.place / "queue").mkdir()
        (self.place / "plugins" / "ways.js").write_text(PLUGIN)
        ways = {d: {"exchange": a, "port": p, "priority": 0} for d, (a, p) in setting.ways.items()}
        ways["*"] = {"exchange": "127.0.0.1", "port": setting.port, "priority": 0}
        files = {
            "plugins": "ways\n",
            "ways.json": json.dumps(ways),
            "smtp.ini": f"listen=127.0.0.1:{self.port}\n",
            "outbound.ini": f"disabled={'true' if setting.hold else 'false'}\nenable_tls=false\n"
            "local_mx_ok=true\ninet_prefer=v4\nconcurrency_max=100\n",
            "connection.ini": (INSTALLED / "config" / "connection.ini").read_text().replace("bytes=26214400", "bytes=50000000"),
            "me": "haraka.test\n",
            "log.ini": "level=WARN\n",
        }
        for name, text in files.items():
            (config / name).write_text(text)

    @property
    def pids(self):
        return [self.process.pid]

    @property
    def state(self):
        return self.place / "queue"

    def launch(self):
        command = ["node", INSTALLED / "bin" / "haraka", "-c", self.place]
        self.process = Process("haraka", command, env=self.setting.environment())

    def start(self):
        self.launch()
        until_greeted(self.port, 30)
        return self

    def forget(self):
        self.process.popen.wait()

    def stop(self):
        self.process.stop(5)
        ports.release(self.port)
