"""Looking at processes from outside."""

from pathlib import Path

import psutil


def alive(pid: int) -> bool:
    """Tell whether the process runs; one that has ended and was not waited for does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def command_line(pid: int) -> str:
    """Return the command line as `ps` shows it; empty for a process that is gone."""
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def family(pid: int) -> list[int]:
    """Return the pids of all descendants."""
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def users_of(folder: Path) -> list[int]:
    """Return the pids of the processes whose working folder lies in `folder`."""
    found = []
    for process in psutil.process_iter():
        try:
            cwd = process.cwd()
        except psutil.Error:
            continue
        if cwd and Path(cwd).is_relative_to(folder):
            found.append(process.pid)
    return found
