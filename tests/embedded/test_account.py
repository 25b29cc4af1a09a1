"""Postgres under each account that it can run as."""

import os
import pwd
import shutil
from pathlib import Path

import asyncpg
import psutil
import pytest

from brim_server.embedded import EmbeddedRefused, EmbeddedServers, account, postgres_server
from brim_server.embedded.account import Myself, Nobody, UserNamespace, choose_account


def test_an_ordinary_user_runs_it_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert choose_account.__wrapped__() == Myself()


def test_root_without_user_namespaces_takes_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    nobody = pwd.getpwnam("nobody")
    assert choose_account.__wrapped__() == Nobody(nobody.pw_uid, nobody.pw_gid)


def test_root_without_any_other_account_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> pwd.struct_passwd:
        raise KeyError(name)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(pwd, "getpwnam", unknown)
    with pytest.raises(EmbeddedRefused, match="Run brim-server as an ordinary user"):
        choose_account.__wrapped__()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone else")
async def test_it_runs_as_nobody(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = pwd.getpwnam("nobody")
    monkeypatch.setattr(postgres_server, "choose_account", lambda: Nobody(nobody.pw_uid, nobody.pw_gid))
    data_dir.parent.chmod(0o711)
    for _ in range(2):
        async with EmbeddedServers(data_dir) as servers:
            assert psutil.Process(servers.postgres_pid).uids().real == nobody.pw_uid
            connection = await asyncpg.connect(servers.database_url)
            assert await connection.fetchval("SELECT 1") == 1
            await connection.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone else")
async def test_a_folder_that_nobody_cannot_reach_is_refused(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = pwd.getpwnam("nobody")
    monkeypatch.setattr(postgres_server, "choose_account", lambda: Nobody(nobody.pw_uid, nobody.pw_gid))
    data_dir.parent.chmod(0o700)
    with pytest.raises(EmbeddedRefused, match="choose a --data-dir"):
        async with EmbeddedServers(data_dir):
            pytest.fail("it cannot be reached")


def test_the_command_of_a_user_namespace_keeps_the_server_as_its_own_process() -> None:
    command = account.command_for(UserNamespace("/usr/bin/unshare"), ["./postgres", "-D", "."])
    assert command[0] == "/usr/bin/unshare"
    assert "--fork" not in command
    assert command[-3:] == ["./postgres", "-D", "."]
