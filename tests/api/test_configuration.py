"""The declarative set-up: applied, repeated, changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import pytest

from scheduler.bootstrap import Core
from scheduler.domain.errors import BrimError, Conflict, Invalid
from scheduler.services.budgets.parkings import Parkings
from scheduler.services.callers.tenants import Tenants
from scheduler.services.setup.declaration import AppliedConfiguration, apply_configuration
from tests.api.server import serving

WORKSPACE = "11111111-1111-4111-8111-111111111111"
ENVIRONMENT = "22222222-2222-4222-8222-222222222222"
TEXT = f"""
[[workspace]]
id = "{WORKSPACE}"
name = "acme"
[[workspace.environment]]
id = "{ENVIRONMENT}"
name = "prod"
[[workspace.environment.connection]]
name = "sim"
provider = "openai-compatible"
profile = "azure"
base_url = "http://127.0.0.1:9100/v1"
api_key = "env:SIM_KEY"
capacity = [{{period = "MINUTE", requests = 600, tokens = 60000, burst_seconds = 2}}]
[[workspace.environment.resource]]
name = "sim-model"
connection = "sim"
model = "sim-model"
fallback = [{{connection = "sim", model = "other"}}]
max_in_flight = 9
default_args = {{max_tokens = 5}}
[[workspace.environment.api_key]]
name = "dev"
key = "brim_given_in_the_file_0123456789"
resources = ["sim-model"]
[[workspace.environment.api_key]]
name = "made"
"""
ENVIRON = {"SIM_KEY": "sk-from-the-environment"}


def changes(applied: AppliedConfiguration) -> list[tuple[str, str, str]]:
    return [(each.kind, each.name, each.change) for each in applied.objects]


async def test_everything_is_made_once(core: Core) -> None:
    first = await apply_configuration(core, TEXT, ENVIRON)
    assert changes(first) == [
        ("workspace", "acme", "created"),
        ("environment", "prod", "created"),
        ("connection", "sim", "created"),
        ("resource", "sim-model", "created"),
        ("api_key", "dev", "created"),
        ("api_key", "made", "created"),
    ]
    assert [str(each.object_id) for each in first.objects[:2]] == [WORKSPACE, ENVIRONMENT]
    [made] = [each for each in first.objects if each.made]
    assert made.name == "made"
    assert "brim_" not in repr(first)
    again = await apply_configuration(core, TEXT, ENVIRON)
    assert {change for _, _, change in changes(again)} == {"unchanged"}
    assert not any(each.made for each in again.objects)
    assert [each.object_id for each in again.objects] == [each.object_id for each in first.objects]
    [connection] = await core.store.setup.connections()
    assert core.vault.open(connection.secret_config["apiKey"]) == "sk-from-the-environment"
    assert connection.config == {"baseUrl": "http://127.0.0.1:9100/v1"}
    [resource] = await core.store.setup.resources()
    assert [target.model for target in resource.targets] == ["sim-model", "other"]
    assert resource.default_args == {"max_tokens": 5}
    async with serving(core) as url, httpx.AsyncClient(base_url=url) as client:
        for key in ("brim_given_in_the_file_0123456789", made.key):
            path = f"/v1/completion-batch/{WORKSPACE}/{ENVIRONMENT}"
            assert (await client.get(path, headers={"x-api-key": str(key)})).status_code == 200


async def test_changes_are_applied_and_absent_fields_left_alone(core: Core) -> None:
    await apply_configuration(core, TEXT, ENVIRON)
    text = TEXT.replace("requests = 600", "requests = 700").replace("brim_given_in", "brim_renewed_in")
    applied = await apply_configuration(core, text, {"SIM_KEY": "sk-new"})
    changed = [(each.kind, each.name) for each in applied.objects if each.change == "updated"]
    assert changed == [("connection", "sim"), ("api_key", "dev")]
    assert {each.change for each in applied.objects} == {"updated", "unchanged"}
    [connection] = await core.store.setup.connections()
    assert core.vault.open(connection.secret_config["apiKey"]) == "sk-new"
    assert connection.capacity[0].requests == 700


@pytest.mark.parametrize(
    ("old", "new", "error", "named"),
    [
        ("[[workspace]]", "[[workspace", Invalid, "TOML"),
        ('name = "prod"', 'name = "prod"\nsize = 3', Invalid, "size"),
        ('provider = "openai-compatible"', 'provider = "acme"', Invalid, "connection[0].provider"),
        ("max_in_flight = 9", "max_in_flight = 0", Invalid, "resource[0].max_in_flight: must be at least 1"),
        (
            "max_in_flight = 9",
            "max_inflight = 9",
            Invalid,
            "resource[0].max_inflight: is not a known field; did you mean max_in_flight?",
        ),
        ('model = "sim-model"', "", Invalid, "resource[0]"),
        ('connection = "sim"\nmodel', 'connection = "no"\nmodel', BrimError, "no"),
        ("env:SIM_KEY", "env:NOT_SET", Invalid, "NOT_SET"),
        ('key = "brim_given_in_the_file_0123456789"', 'key = "short"', Invalid, "api_key[0].key"),
        (WORKSPACE, "no-uuid", Invalid, "id"),
    ],
)
async def test_faults_name_their_place(core: Core, old: str, new: str, error: type[BrimError], named: str) -> None:
    with pytest.raises(error) as raised:
        await apply_configuration(core, TEXT.replace(old, new, 1), ENVIRON)
    assert named in raised.value.message


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'connection = "sim"\nmodel',
            'connection = "no"\nmodel',
            "acme/prod: resource[0]: model: there is no connection no. There is: sim.",
        ),
        (
            'base_url = "http://127.0.0.1:9100/v1"\n',
            "",
            "acme/prod: connection[0].base_url: is required for provider openai-compatible",
        ),
        ("env:SIM_KEY", "env:NO", "acme/prod: connection[0].api_key: the environment variable NO is not set"),
        (
            'resources = ["sim-model"]',
            'resources = ["no"]',
            "acme/prod: api_key[0]: There is no resource no. There is: sim-model.",
        ),
    ],
)
async def test_a_faulty_file_changes_nothing(core: Core, old: str, new: str, message: str) -> None:
    with pytest.raises(BrimError) as raised:
        await apply_configuration(core, TEXT.replace(old, new, 1), ENVIRON)
    assert raised.value.message == message
    assert await core.store.setup.workspaces() == []


async def test_all_faults_are_told_at_once_without_those_that_follow_from_others(core: Core) -> None:
    other = """
[[workspace.environment]]
name = "stage"
[[workspace.environment.connection]]
name = "groq"
provider = "grok"
"""
    with pytest.raises(Invalid) as raised:
        await apply_configuration(core, TEXT.replace("env:SIM_KEY", "env:NO") + other, ENVIRON)
    told = [each["message"] for each in (raised.value.details or {})["errors"]]
    assert told[0] == "acme/prod: connection[0].api_key: the environment variable NO is not set"
    assert told[1].startswith("acme/stage: connection[0].provider: must be one of openai, ")
    assert len(told) == 2


async def test_an_id_that_contradicts_a_name_is_refused(core: Core) -> None:
    await apply_configuration(core, TEXT, ENVIRON)
    with pytest.raises(Conflict):
        await apply_configuration(core, TEXT.replace(WORKSPACE, "33333333-3333-4333-8333-333333333333"), ENVIRON)


async def test_a_renewed_key_lets_a_parked_connection_be_tried_at_once(core: Core) -> None:
    applied = await apply_configuration(core, TEXT, ENVIRON)
    [connection_id] = [each.object_id for each in applied.objects if each.kind == "connection"]

    async def reasons() -> list[str]:
        return [each.reason for each in await core.store.parkings.parked(datetime.now(UTC))]

    parkings = Parkings(core.store.parkings, core.engine, timedelta(hours=1), lambda: datetime.now(UTC))
    shard = await Tenants(core.store).shard_of(UUID(ENVIRONMENT))
    await parkings.park(shard, connection_id, "", code="PROVIDER_REFUSED_KEY", reason="refused", told_ms=None)
    await apply_configuration(core, TEXT, ENVIRON)
    assert await reasons() == ["refused"]
    await apply_configuration(core, TEXT, {"SIM_KEY": "sk-renewed"})
    assert await reasons() == []


async def test_pools_are_made_changed_and_left_alone(core: Core) -> None:
    async def applied(share: float) -> tuple[str, str, str]:
        pool = f"""
[[workspace.environment.pool]]
name = "gold"
resources = ["sim-model"]
min_share = {share}
"""
        return changes(await apply_configuration(core, TEXT + pool, ENVIRON))[-1]

    assert await applied(0.25) == ("pools", "acme/prod", "created")
    assert await applied(0.25) == ("pools", "acme/prod", "unchanged")
    assert await applied(0.5) == ("pools", "acme/prod", "updated")
    [definition] = await core.store.setup.pool_definitions()
    assert (definition.pools[0].min_share, definition.pools[0].max_share, definition.version) == (0.5, 1.0, 2)
    with pytest.raises(Invalid, match=r"acme/prod: pool\[0\]"):
        await applied(1.5)
