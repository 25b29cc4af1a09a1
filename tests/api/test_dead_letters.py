"""Items that failed for good: listed by what failed them, and run again; over HTTP and by the command."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from brim.cli.main import main
from scheduler.domain.status import ItemStatus
from scheduler.ports.deliveries import DeliveryResult
from tests.api.test_access import refused
from tests.api.world import ApiWorld, item, outcome

NOBODY = "56e79635-463b-45c4-a11f-6cccd7a66afa"


async def failed(world: ApiWorld, codes: dict[int, str], count: int = 3, **more: Any) -> str:
    """A batch in which those items failed, and the others completed unless they are to be left open."""
    batch = (await world.create(count, **more))["batchId"]
    for seq, code in codes.items():
        broken = replace(outcome(UUID(batch), seq, ItemStatus.FAILED), error_code=code)
        await world.core.store.outcomes.flush([broken], wait_for_locks=True)
    return str(batch)


async def ended(world: ApiWorld, codes: dict[int, str], count: int = 3, **more: Any) -> str:
    batch = await failed(world, codes, count, **more)
    await world.finish(batch, [seq for seq in range(1, count + 1) if seq not in codes])
    return batch


async def listed(world: ApiWorld, **params: Any) -> list[tuple[str, str, str]]:
    answer = await world.client.get(f"{world.batches}/dead-letters", params=params)
    assert answer.status_code == 200, answer.text
    return [(each["batchId"], each["customId"], each["errorCode"]) for each in answer.json()["data"]]


async def replayed(world: ApiWorld, **body: Any) -> Any:
    answer = await world.client.post(f"{world.batches}/dead-letters/replay", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_they_are_listed_newest_batch_first_and_by_what_is_asked_for(world: ApiWorld) -> None:
    other = await world.add_resource("other")
    old = await ended(world, {1: "DEAD_LETTER", 3: "PROVIDER_ERROR"})
    await world.create(1)
    items = [item(1, resourceId="other"), item(2)]
    new = await failed(world, {1: "DEAD_LETTER"}, 2, items=items)
    everything = [(new, "c1", "DEAD_LETTER"), (old, "c1", "DEAD_LETTER"), (old, "c3", "PROVIDER_ERROR")]
    assert await listed(world) == everything
    assert await listed(world, errorCode="DEAD_LETTER") == everything[:2]
    assert await listed(world, batchId=old) == everything[1:]
    assert await listed(world, resource="other") == await listed(world, resource=other["resourceId"]) == everything[:1]
    assert await listed(world, resource="r", errorCode="PROVIDER_ERROR") == everything[2:]
    assert await listed(world, batchId=str(uuid4())) == []
    answer = (await world.client.get(f"{world.batches}/dead-letters")).json()
    assert [each["replayable"] for each in answer["data"]] == [False, True, True]
    assert (answer["hasMore"], answer["nextAfter"]) == (False, None)


async def test_pages_follow_each_other_without_gap(world: ApiWorld) -> None:
    first = await ended(world, {1: "A", 2: "B", 3: "C"})
    second = await ended(world, {2: "D", 3: "E"})
    found: list[tuple[str, str]] = []
    after = None
    for _ in range(5):
        params = {"limit": "2"} | ({"after": after} if after else {})
        page = (await world.client.get(f"{world.batches}/dead-letters", params=params)).json()
        found += [(each["batchId"], each["errorCode"]) for each in page["data"]]
        after = page["nextAfter"]
        if not page["hasMore"]:
            break
    assert found == [(second, "D"), (second, "E"), (first, "A"), (first, "B"), (first, "C")]


@pytest.mark.parametrize("after", ["x", "1.2", NOBODY, f"{NOBODY}.-1", f"{NOBODY}.9999999999", f"{NOBODY}.٣"])
async def test_a_cursor_of_nobody_is_refused(world: ApiWorld, after: str) -> None:
    answer = await world.client.get(f"{world.batches}/dead-letters", params={"after": after})
    assert refused(answer) == (422, "VALIDATION_ERROR")


async def test_a_replay_runs_what_is_meant_of_ended_batches_again(world: ApiWorld) -> None:
    over = await ended(world, {1: "DEAD_LETTER", 2: "PROVIDER_ERROR"})
    live = await failed(world, {1: "DEAD_LETTER"})
    running = {"batchId": live, "items": 1, "state": "RUNNING"}
    dry = await replayed(world, errorCode="DEAD_LETTER", dryRun=True)
    assert dry == {
        "dryRun": True,
        "items": 1,
        "batches": [running, {"batchId": over, "items": 1, "state": "RETRIABLE"}],
        "nextAfter": None,
    }
    assert len(await listed(world)) == 3
    done = await replayed(world, errorCode="DEAD_LETTER")
    assert done["batches"] == [running, {"batchId": over, "items": 1, "state": "RETRIED"}]
    assert await listed(world) == [(live, "c1", "DEAD_LETTER"), (over, "c2", "PROVIDER_ERROR")]
    batch = (await world.client.get(f"{world.batches}/{over}?includesItems=false")).json()
    assert (batch["status"], batch["failed"], batch["pending"]) == ("RUNNING", 1, 1)
    claimed = await world.core.engine.claim(
        await world.shard(), slots=9, open_slots=9, holder="h", lease_ms=5_000, crowded=frozenset()
    )
    again = [lease.ref.position for lease in claimed.leases if lease.ref.flow.batch_id == over]
    assert again == [1]
    # Run again, and failed again: it is a dead letter of its second run.
    broken = replace(outcome(UUID(over), 1, ItemStatus.FAILED, run=2), error_code="AGAIN")
    await world.core.store.outcomes.flush([broken], wait_for_locks=True)
    assert await listed(world, batchId=over) == [(over, "c1", "AGAIN"), (over, "c2", "PROVIDER_ERROR")]


async def test_a_replay_without_a_body_means_everything(world: ApiWorld) -> None:
    await ended(world, {1: "A", 2: "B"})
    answer = await world.client.post(f"{world.batches}/dead-letters/replay")
    assert (answer.status_code, answer.json()["items"]) == (200, 2)
    assert await listed(world) == []


async def test_what_is_asked_for_must_make_sense(world: ApiWorld) -> None:
    path = f"{world.batches}/dead-letters"
    assert refused(await world.client.get(path, params={"resource": "nobody"})) == (404, "AI_RESOURCE_NOT_FOUND")
    assert refused(await world.client.get(path, params={"batchId": "x"})) == (422, "VALIDATION_ERROR")
    assert refused(await world.client.post(f"{path}/replay", json={"code": "A"})) == (422, "VALIDATION_ERROR")
    nowhere = f"/v1/completion-batch/{world.workspace}/{uuid4()}/dead-letters"
    assert refused(await world.admin.get(nowhere)) == (404, "ENVIRONMENT_NOT_FOUND")


async def dead_deliveries(world: ApiWorld) -> str:
    """A batch of which one callback was delivered and two were given up."""
    options = {"url": "http://127.0.0.1:9/hook", "events": ["item_update"]}
    batch = (await world.create(3, type="CALLBACK", callbackOptions=options))["batchId"]
    await world.finish(batch, [1, 2, 3])
    store = world.core.store.deliveries
    good, *bad = await store.claim("me", 10, 30)
    gone = [DeliveryResult(each.delivery_id, False, None, "The receiver answered 410.", 410) for each in bad]
    await store.record("me", [DeliveryResult(good.delivery_id, True, None, None, 200), *gone])
    return str(batch)


async def test_dead_callbacks_are_listed_and_sent_again_together(world: ApiWorld) -> None:
    path = f"{world.batches}/{await dead_deliveries(world)}/deliveries"
    states = {
        state: len((await world.client.get(path, params={"state": state})).json()["data"])
        for state in ("WAITING", "DELIVERED", "DEAD")
    }
    assert states == {"WAITING": 0, "DELIVERED": 1, "DEAD": 2}
    answer = await world.client.post(f"{path}/replay")
    assert (answer.status_code, answer.json()) == (202, {"replayed": 2})
    assert len(await world.core.store.deliveries.claim("me", 10, 30)) == 2
    assert (await world.client.post(f"{path}/replay")).json() == {"replayed": 0}


async def brim(world: ApiWorld, *argv: str) -> str:
    """What the command prints."""
    environment = {
        **os.environ,
        "BRIM_URL": world.url,
        "BRIM_API_KEY": world.key,
        "BRIM_WORKSPACE": world.workspace,
        "BRIM_ENVIRONMENT": world.environment,
    }
    command = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "brim", *argv, env=environment, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await command.communicate()
    assert command.returncode == 0
    return out.decode()


async def brim_json(world: ApiWorld, *argv: str) -> list[Any]:
    return [json.loads(line) for line in (await brim(world, *argv, "--json")).splitlines()]


async def test_the_command_lists_and_replays(world: ApiWorld) -> None:
    over = await ended(world, {1: "DEAD_LETTER", 2: "PROVIDER_ERROR", 3: "PROVIDER_ERROR"})
    assert "c1" in await brim(world, "dead", "list")
    lines = [
        json.loads(line)
        for line in (await brim(world, "dead", "list", "--code", "PROVIDER_ERROR", "--json")).splitlines()
    ]
    assert [each["customId"] for each in lines] == ["c2", "c3"]
    would = await brim(world, "dead", "replay", "--resource", "r", "--code", "DEAD_LETTER", "--dry-run")
    assert would == "1 item of 1 batch would be run again\n"
    assert (
        await brim(world, "dead", "replay", "--batch", over, "--code", "DEAD_LETTER") == "1 item of 1 batch run again\n"
    )
    await world.finish(over, [1], run=2)
    assert "RUNNING" in await brim(world, "retry", over, "--item", lines[0]["itemId"])
    await world.finish(over, [2], run=2)
    assert "RUNNING" in await brim(world, "retry", over)
    assert await brim(world, "dead", "list") == "no dead letters\n"

    batch = await dead_deliveries(world)
    assert (await brim(world, "deliveries", "list", batch)).count("410") == 2
    dead = await brim_json(world, "deliveries", "list", batch, "--state", "dead")
    assert await brim(world, "deliveries", "replay", batch, dead[0]["deliveryId"]) == "1 delivery is sent again\n"
    assert await brim(world, "deliveries", "replay", batch, "--dead") == "1 delivery is sent again\n"


@pytest.mark.parametrize(
    "argv", [["dead", "replay"], ["deliveries", "replay", "b"], ["deliveries", "replay", "b", "d", "--dead"]]
)
def test_a_replay_of_everything_must_be_meant(argv: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(argv)
