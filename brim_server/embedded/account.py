"""Under which account Postgres runs: it refuses to be root."""

import functools
import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from brim_server.embedded.refusal import EmbeddedRefused

_UNSHARE = ("--user", "--map-user=65534", "--map-group=65534", "--")


@dataclass(frozen=True, slots=True)
class Myself:
    """We are not root: run as we are."""


@dataclass(frozen=True, slots=True)
class UserNamespace:
    """We are root: a user namespace in which our own account has another number. Needs no second account."""

    unshare: str


@dataclass(frozen=True, slots=True)
class Nobody:
    """We are root and user namespaces are blocked (as in many containers): the account `nobody`."""

    uid: int
    gid: int


Account = Myself | UserNamespace | Nobody


@functools.cache
def choose_account() -> Account:
    """Choose the account by trying. Raises EmbeddedRefused when root has no way to be someone else."""
    if os.geteuid() != 0:
        return Myself()
    unshare = shutil.which("unshare")
    if unshare is not None and _works([unshare, *_UNSHARE, "true"]):
        return UserNamespace(unshare)
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedRefused(
            "Postgres refuses to run as root; user namespaces are blocked here and there is no account "
            "'nobody'. Run brim-server as an ordinary user, or set BRIM_DATABASE_URL and BRIM_REDIS_URL "
            "to servers of your own."
        ) from None
    return Nobody(entry.pw_uid, entry.pw_gid)


def command_for(account: Account, command: Sequence[str]) -> list[str]:
    """Return the command that runs `command` under `account` (`Nobody` also needs `switch_for`)."""
    match account:
        case UserNamespace(unshare):
            return [unshare, *_UNSHARE, *command]
        case Myself() | Nobody():
            return list(command)
        case _:
            assert_never(account)


@dataclass(frozen=True, slots=True)
class Switch:
    """The account that `subprocess` changes to before it executes; None leaves it."""

    user: int | None = None
    group: int | None = None
    extra_groups: tuple[int, ...] | None = None


def switch_for(account: Account) -> Switch:
    """Return what `subprocess` must change for `account`."""
    match account:
        case Nobody(uid, gid):
            return Switch(uid, gid, ())
        case Myself() | UserNamespace():
            return Switch()
        case _:
            assert_never(account)


def hand_over(account: Account, folder: Path, *, ours_above: Sequence[Path]) -> None:
    """Give `folder` and all in it to `account`; let it pass through `ours_above`, folders that we made."""
    if not isinstance(account, Nobody):
        return
    for above in ours_above:
        above.chmod(0o711)
    os.chown(folder, account.uid, account.gid)
    for base, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(Path(base) / name, account.uid, account.gid, follow_symlinks=False)


def _works(command: Sequence[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=10, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
