"""Servers that are measured, one file each."""

from servers.exim import EximServer
from servers.haraka import HarakaServer
from servers.postfix import PostfixServer
from servers.relayd import RelaydBothServer, RelaydServer

CLASSES = {c.name: c for c in (RelaydServer, RelaydBothServer, PostfixServer, EximServer, HarakaServer)}
