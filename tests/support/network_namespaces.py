"""Hosts on this machine: network namespaces, each with an address, joined by a switch.

The switch is in a namespace of its own, so nothing outside of them is touched or reached.
"""

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

CAPABLE = 1 << 12 | 1 << 21  # CAP_NET_ADMIN and CAP_SYS_ADMIN


class Hosts:
    """So many hosts; use it as a context, so that they are gone in the end."""

    def __init__(self, count):
        self.count = count
        self.switch = f"st{os.getpid()}-switch"
        self.names = [f"st{os.getpid()}-{number}" for number in range(count)]

    def __enter__(self):
        try:
            ip("netns", "add", self.switch)
            ip("-n", self.switch, "link", "add", "bridge", "type", "bridge")
            ip("-n", self.switch, "link", "set", "bridge", "up")
            for number in range(self.count):
                self._connect(number)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for name in (*self.names, self.switch):
            with suppress(OSError):  # links go with what they connect
                ip("netns", "delete", name)

    def _connect(self, number):
        name, port = self.names[number], f"port{number}"
        ip("netns", "add", name)
        wire = ("link", "add", "eth0", "netns", name, "type", "veth")
        ip(*wire, "peer", "name", port, "netns", self.switch)
        ip("-n", self.switch, "link", "set", port, "master", "bridge", "up")
        ip("-n", name, "address", "add", f"{self.address(number)}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            ip("-n", name, "link", "set", device, "up")

    def address(self, number):
        return f"10.231.77.{number + 1}"

    def cut(self, number):
        """Pull the plug of a host; nobody is told."""
        ip("-n", self.switch, "link", "set", f"port{number}", "down")

    def within(self, number):
        """A command that runs a command on a host, which has a name of its own."""
        rename = 'echo "$0" > /proc/sys/kernel/hostname && exec "$@"'
        enter = ("ip", "netns", "exec", self.names[number], "unshare", "--uts")
        return (*enter, "sh", "-c", rename, self.names[number])


def ip(*arguments):
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)  # noqa: S607
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def refusal():
    """Why there can be no hosts here; empty where there can."""
    if sys.platform != "linux" or not all(map(shutil.which, ("ip", "unshare"))):
        return "needs Linux with ip (iproute2) and unshare (util-linux)"
    try:
        with Hosts(2) as hosts:
            subprocess.run([*hosts.within(1), "true"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"network namespaces can't be made: {error}"
    return ""


def may_make_hosts():
    """Whether this process has all that it takes, as the system says."""
    if sys.platform != "linux" or not all(map(shutil.which, ("ip", "unshare"))):
        return False
    status = Path("/proc/self/status").read_text()
    (held,) = [int(line.split()[1], 16) for line in status.splitlines() if "CapEff" in line]
    return os.geteuid() == 0 and held & CAPABLE == CAPABLE
