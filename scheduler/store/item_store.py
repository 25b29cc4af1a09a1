"""Items and their outcomes, read in bulk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from scheduler.domain.batch import ENDPOINTS, Item
from scheduler.domain.errors import InvariantBroken
from scheduler.domain.output_length import OutputGuess
from scheduler.domain.output_room import OutputRoom
from scheduler.domain.status import BatchStatus
from scheduler.domain.work import Entry
from scheduler.ports.items import Loaded, LoadedItem
from scheduler.store.database import Database
from scheduler.store.flow_room import room_of
from scheduler.store.item_rows import Row, item_of
from scheduler.store.statements import load_statements

_SQL = load_statements("item")
_RANGE_SEQS = 20_000
"""How many seqs one statement looks at: some 20–40 ms of Postgres at the worst."""


class PostgresItemStore:
    """Implements ports.items.ItemStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def item(self, environment_id: UUID, batch_id: UUID, seq: int) -> Item | None:
        """One item with the outcome of its current run, or None."""
        row = await self._database.fetchrow(_SQL["item"], environment_id, batch_id, seq)
        return None if row is None else item_of(row)

    async def page(self, batch_id: UUID, *, after_seq: int, limit: int) -> Sequence[Item]:
        """Items with seq > after_seq in order."""
        return [item_of(row) for row in await self._database.fetch(_SQL["item_page"], batch_id, after_seq, limit)]

    async def items(self, batch_id: UUID, seqs: Sequence[int]) -> Sequence[Item]:
        """Those items in order; unknown seqs are left out."""
        return [item_of(row) for row in await self._database.fetch(_SQL["items"], batch_id, seqs)]

    async def retried_runs(self, batch_id: UUID, seqs: Sequence[int]) -> Mapping[int, int]:
        """The current run of those that were retried."""
        rows = await self._database.fetch(_SQL["retried_runs"], batch_id, seqs)
        return {row["seq"]: row["run"] for row in rows}

    async def load(self, shard: int, claimed: Sequence[tuple[UUID, int, int]]) -> Loaded:
        """One query for many claimed (batch, seq, run); unknown ones are left out of the answer."""
        rows = await self._database.fetch(
            _SQL["load"], shard, [c[0] for c in claimed], [c[1] for c in claimed], [c[2] for c in claimed]
        )
        if not rows:
            raise InvariantBroken(f"there is no shard {shard}")
        return Loaded(
            epoch=rows[0]["epoch"],
            database_now=rows[0]["database_now"],
            items={
                (row["batch_id"], row["seq"]): LoadedItem(
                    batch_id=row["batch_id"],
                    seq=row["seq"],
                    run=row["run"],
                    current_run=row["current_run"],
                    finished=bool(row["has_outcome"]) or row["run"] != row["current_run"],
                    batch_status=BatchStatus(row["status"]),
                    deadline=row["deadline"],
                    wants_item_callbacks=row["wants_item_update"],
                    resource_id=row["resource_id"],
                    endpoint=ENDPOINTS[row["endpoint"]],
                    request=row["request"],
                    out_tokens=row["out_tokens"],
                    max_retries=row["max_retries"],
                    guess=None if row["out_copies"] is None else OutputGuess(row["out_copies"], row["out_most"]),
                )
                for row in rows
                if row["batch_id"] is not None
            },
        )

    async def window(
        self, batch_id: UUID, resource_id: UUID, *, after_seq: int, limit: int, known_tokens: int | None = None
    ) -> tuple[int, list[Entry]]:
        """The next entries of a flow and the cursor behind them; see the port. An unknown flow has none."""
        flow = await self._database.fetchrow(_SQL["flow_bounds"], batch_id, resource_id, known_tokens)
        if flow is None:
            return after_seq, []
        stored: int = flow["stored"]
        low = max(after_seq, flow["first"] - 1)
        high = min(low + _RANGE_SEQS, stored)
        if high <= low:
            return max(after_seq, high), []
        rows = await self._database.fetch(_SQL["window"], batch_id, flow["no"], low, high, limit)
        entries = await self._entries(batch_id, resource_id, rows, flow["likely_output_tokens"])
        entries = await self._with_crashes(batch_id, entries)
        if len(entries) == limit:
            return entries[-1].position, entries
        # Beyond its last item a flow has nothing: the cursor may go to the end of what is stored.
        return (stored if high >= flow["last"] else high), entries

    async def note_crashes(self, suspects: Sequence[tuple[UUID, int, int, int]]) -> None:
        """So many holders died with (batch, seq, run); see the port."""
        columns = [[each[column] for each in suspects] for column in range(4)]
        await self._database.execute(_SQL["note_crashes"], *columns)

    async def _with_crashes(self, batch_id: UUID, entries: list[Entry]) -> list[Entry]:
        """The entries with the crashes that are known of their runs: hardly ever any, and one probe for all."""
        if not entries:
            return entries
        rows = await self._database.fetch(_SQL["crashes"], batch_id, entries[0].position, entries[-1].position)
        if not rows:
            return entries
        known = {(row["seq"], row["run"]): row["crashes"] for row in rows}
        return [entry._replace(crashes=known.get((entry.position, entry.run), 0)) for entry in entries]

    async def _entries(
        self, batch_id: UUID, resource_id: UUID, rows: Sequence[Row], likely_tokens: int | None
    ) -> list[Entry]:
        """The entries of rows of the window. The limits are read only where a guess became larger: seldom, and once."""
        if likely_tokens is None:
            return [Entry(row["seq"], row["run"], row["in_tokens"], row["out_tokens"]) for row in rows]
        entries, room = [], None
        for row in rows:
            in_tokens, out_tokens = row["in_tokens"], row["out_tokens"]
            if row["out_copies"] is not None:
                guess = OutputGuess(row["out_copies"], row["out_most"]).tokens(likely_tokens)
                if guess > out_tokens:
                    if room is None:
                        room = await self._room(batch_id, resource_id)
                    guess = room.cut(guess, in_tokens, out_tokens)
                out_tokens = guess
            entries.append(Entry(row["seq"], row["run"], in_tokens, out_tokens))
        return entries

    async def _room(self, batch_id: UUID, resource_id: UUID) -> OutputRoom:
        row = await self._database.fetchrow(_SQL["flow_limits"], batch_id, resource_id)
        if row is None:
            return OutputRoom(item_tokens=0)  # its batch was forgotten meanwhile: nothing of it may grow
        return room_of(row, resource_id)

    async def lowest_unfinished(self, batch_id: UUID, resource_id: UUID) -> int | None:
        """Lowest seq of a flow without an outcome for its current run. Looks range by range."""
        flow = await self._database.fetchrow(_SQL["flow_bounds"], batch_id, resource_id, None)
        if flow is None:
            return None
        low = flow["first"] - 1
        while low < flow["last"]:
            high = low + _RANGE_SEQS
            seq: int | None = await self._database.fetchval(_SQL["window"], batch_id, flow["no"], low, high, 1)
            if seq is not None:
                return seq
            low = high
        return None

    async def unfinished(self, batch_id: UUID, *, after_seq: int, limit: int) -> Sequence[tuple[int, int, UUID]]:
        """(seq, current run, resource) of items without an outcome, in order. Looks range by range."""
        stored: int | None = await self._database.fetchval(_SQL["stored"], batch_id)
        low = after_seq
        while stored is not None and low < stored:
            high = low + _RANGE_SEQS
            rows = await self._database.fetch(_SQL["unfinished"], batch_id, low, high, limit)
            if rows:
                return [(row["seq"], row["run"], row["resource_id"]) for row in rows]
            low = high
        return []
