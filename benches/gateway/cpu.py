"""Who used the processor: /proc/PID/stat for a process and its children, /proc/stat for a core."""

import os
import time
from dataclasses import dataclass

TICK = os.sysconf("SC_CLK_TCK")


def family(pid):
    """A process and everything it started."""
    pids = [pid]
    for parent in pids:
        try:
            for task in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{task}/children") as children:
                    pids.extend(map(int, children.read().split()))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return pids


def seconds(pid):
    """CPU seconds, user and system, of a process and its children, ended ones included."""
    ticks = 0
    for member in family(pid):
        try:
            with open(f"/proc/{member}/stat") as stat:
                # The name may hold anything, brackets included; what follows it is numbers.
                fields = stat.read().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        ticks += sum(map(int, fields[11:15]))
    return ticks / TICK


def rss_kib(pid):
    """Resident memory in KiB."""
    return _status_kib(pid, "VmRSS:")


def peak_kib(pid):
    """The most that was ever resident, in KiB."""
    return _status_kib(pid, "VmHWM:")


def _status_kib(pid, field):
    with open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith(field):
                return int(line.split()[1])
    raise ValueError(f"process {pid} has no memory")


def settled_rss_kib(pid, within=64):
    """Resident memory in KiB once it stays the same for half a second; none if it never does."""
    before = rss_kib(pid)
    for _ in range(40):
        time.sleep(0.5)
        now = rss_kib(pid)
        if abs(now - before) < within:
            return now
        before = now
    return None


@dataclass(frozen=True)
class Core:
    """What one core has done so far, in seconds."""

    busy: float
    idle: float
    steal: float

    def __sub__(self, earlier):
        return Core(self.busy - earlier.busy, self.idle - earlier.idle, self.steal - earlier.steal)

    @property
    def load(self):
        """The share of time that was not idle."""
        return self.busy / max(self.busy + self.idle + self.steal, 1e-9)


def core(number):
    """A core's counters since boot."""
    with open("/proc/stat") as stat:
        for line in stat:
            name, *fields = line.split()
            if name == f"cpu{number}":
                user, nice, system, idle, iowait, irq, softirq, steal = (int(field) / TICK for field in fields[:8])
                return Core(user + nice + system + irq + softirq, idle + iowait, steal)
    raise ValueError(f"there is no core {number}")
