"""Which server is asked for a shard, and what is believed after it began anew."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from bench.cluster import LoopbackCluster, Node
from scheduler.domain.errors import Unavailable
from scheduler.engine.address import ClusterUrl, read_url
from scheduler.engine.connect import call
from scheduler.engine.redis_engine import RedisEngine
from scheduler.engine.servers import open_servers, read_slots, slot_of
from scheduler.ports.engine import EpochLost
from scheduler.settings import Settings
from tests.polling import eventually

SHARD = 5


def test_a_clusters_url_names_its_first_nodes() -> None:
    url = read_url("rediss+cluster://me:word@one.example:7000,[::1]:7001,three?health_check_interval=1")
    assert url == ClusterUrl(
        "rediss", "me:word@", (("one.example", 7000), ("::1", 7001), ("three", 6379)), "health_check_interval=1"
    )
    assert url.node_url(("::1", 7001)) == "rediss://me:word@[::1]:7001?health_check_interval=1"


@pytest.mark.parametrize("url", ["redis://one:7000/0", "rediss://one", "unix:///tmp/redis.sock"])
def test_any_other_url_is_of_one_server(url: str) -> None:
    assert read_url(url) is None


@pytest.mark.parametrize(
    "url", ["redis+cluster://", "redis+cluster://one:x", "redis+cluster://me:word@one,,two", "redis+cluster://one/1"]
)
def test_a_clusters_url_that_cannot_be_read_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="cluster") as refusal:
        read_url(url)
    assert "word" not in str(refusal.value)


def test_a_node_that_does_not_know_its_own_address_is_where_it_was_asked() -> None:
    reply = [[0, 99, [b"", 7000, b"id"], [b"10.0.0.9", 7003, b"replica"]], [100, 200, [b"10.0.0.2", 7001, b"id"]]]
    assert read_slots(reply, asked="10.0.0.1") == [(0, 99, ("10.0.0.1", 7000)), (100, 200, ("10.0.0.2", 7001))]


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[LoopbackCluster]:
    """A cluster whose slots move and whose nodes die; each test takes a shard of its own."""
    with LoopbackCluster() as cluster:
        yield cluster


@pytest.fixture
async def engine(own_cluster: LoopbackCluster) -> AsyncIterator[RedisEngine]:
    engine = await RedisEngine.open(own_cluster.url, Settings())
    yield engine
    await engine.close()


async def test_a_shard_that_moved_is_followed_and_must_be_agreed_on_anew(
    own_cluster: LoopbackCluster, engine: RedisEngine
) -> None:
    shard = 5
    await engine.open_shard(shard, 1)
    assert await engine.headroom(shard, ["x"]) == {}
    before = await engine.identity(shard)
    _move(own_cluster, slot_of(shard))
    with pytest.raises(EpochLost):
        await engine.headroom(shard, ["x"])
    after = await engine.identity(shard)
    assert after != before
    await engine.open_shard(shard, 2, after)
    assert await engine.headroom(shard, ["x"]) == {}


async def test_a_wake_up_is_heard_also_after_its_shard_moved(own_cluster: LoopbackCluster, engine: RedisEngine) -> None:
    shard = 6
    await engine.bell.hand_on(shard)
    assert await engine.bell.wait(5) == shard
    _move(own_cluster, slot_of(shard))
    await engine.bell.hand_on(shard)

    async def heard() -> bool:
        return await engine.bell.wait(1) == shard

    await eventually(heard, "a wake-up from the node that has the shard now", 20)


async def test_a_server_that_began_anew_is_not_believed(own_cluster: LoopbackCluster, engine: RedisEngine) -> None:
    shard, other = 1, 3
    assert own_cluster.master_of(slot_of(shard)) is not own_cluster.master_of(slot_of(other))
    await engine.open_shard(shard, 1)
    await engine.open_shard(other, 1)
    assert await engine.headroom(shard, ["x"]) == {}
    _restart(own_cluster.master_of(slot_of(shard)))

    async def lost() -> bool:
        try:
            await engine.headroom(shard, ["x"])
        except EpochLost:
            return True
        except Unavailable:
            return False
        pytest.fail("a server that began anew was believed")

    await eventually(lost, "the node serves its slots again", 20)
    # The epoch is still in its data: only who it is tells that it may be an older copy.
    assert await engine.epoch_of(shard) == 1
    # The shards of the other nodes go on.
    assert await engine.headroom(other, ["x"]) == {}


async def test_what_wakes_a_process_that_does_not_listen_any_more_wakes_another(
    redis_cluster: LoopbackCluster,
) -> None:
    redis_cluster.clear()
    deaf = await RedisEngine.open(redis_cluster.url, Settings())
    other = await RedisEngine.open(redis_cluster.url, Settings())
    # Its listeners still block on the cluster after this.
    assert await deaf.bell.wait(0.2) is None
    for _ in range(3):
        await other.bell.hand_on(SHARD)
        assert await other.bell.wait(5) == SHARD
    await deaf.close()
    await other.close()


async def test_the_clients_of_one_call_share_one_look_at_the_map(redis_cluster: LoopbackCluster) -> None:
    servers = open_servers(redis_cluster.url)
    asked_before = _looks(redis_cluster)

    async def ask(client: Redis) -> bytes:
        reply: bytes = await call(client, "ECHO", "here")
        return reply

    assert set(await asyncio.gather(*(servers.on(shard, ask) for shard in range(16)))) == {b"here"}
    assert _looks(redis_cluster) == asked_before + 1
    await servers.close()


async def test_a_cluster_that_is_not_there_is_unavailable() -> None:
    engine = await RedisEngine.open("redis+cluster://127.0.0.1:1", Settings())
    with pytest.raises(Unavailable):
        await engine.ping()
    with pytest.raises(Unavailable):
        await engine.open_shard(0, 1)
    assert await engine.bell.wait(0.05) is None
    await engine.close()


def _move(cluster: LoopbackCluster, slot: int) -> None:
    """Give a slot to another master at once. Its keys do not go along, as if its new node had none of them."""
    source = cluster.master_of(slot)
    target = next(node for node in cluster.masters if node is not source)
    target_id = target.ask("CLUSTER", "MYID").decode()
    for name in source.ask("CLUSTER", "GETKEYSINSLOT", slot, 1000):
        source.client.delete(name)
    for node in (target, *(node for node in cluster.masters if node is not target)):
        node.ask("CLUSTER", "SETSLOT", slot, "NODE", target_id)


def _restart(node: Node) -> None:
    node.send(signal.SIGKILL)
    node.start()


def _looks(cluster: LoopbackCluster) -> int:
    stats = [node.client.info("commandstats") for node in cluster.masters]
    return sum(each.get("cmdstat_cluster|slots", {}).get("calls", 0) for each in stats)
