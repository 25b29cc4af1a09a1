"""Carries out operations on the real scripts and on the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

from scheduler.domain.work import BudgetDefinition, Claimed, FlowDefinition, QueueDefinition, RefillOrder
from scheduler.engine import codec
from tests.stateful import operations as op
from tests.stateful.admission import grant
from tests.stateful.endings import SUSPECT_AFTER, Endings
from tests.stateful.ledger import Budget
from tests.stateful.model import Flow
from tests.stateful.shard import EPOCH, PREFIX, Shard
from tests.stateful.world import BUDGETS, FLOW_BUDGETS, FLOW_INDEX, FLOWS, QUEUES, UNDEFINED_AT_FIRST, WINDOW


class Machine(Endings):
    """One shard from its first epoch on: all budgets but one unlimited, three queues, no flows."""

    def __init__(self, shard: Shard) -> None:
        super().__init__(shard)
        self.orders: list[RefillOrder] = []
        for budget in BUDGETS:
            if budget != UNDEFINED_AT_FIRST:
                self.apply(op.SetLimits(budget, (), None, stale=False))
        self.apply(op.SetQueue(0, ("connection-0",), (), False, 4.0, stale=False))
        self.apply(op.SetQueue(1, ("connection-0",), ("resource-0",), False, 4.0, stale=False))
        self.apply(op.SetQueue(2, ("connection-1",), (), False, 4.0, stale=False))

    def apply(self, operation: op.Operation) -> None:
        """Carry out one operation; raises AssertionError when engine and model disagree."""
        match operation:
            case op.Tick(ms):
                self.clock_ms += ms
            case op.Claim(holder, slots, open_slots, crowded, lease_ms, may_suspect):
                self.claim(holder, slots, open_slots, crowded, lease_ms, may_suspect=may_suspect)
            case op.SetLimits() | op.SetQueue() | op.PauseBudget():
                self._define(operation)
            case op.Push() | op.Refill() | op.Repair():
                self._fill(operation)
            case op.Settle() | op.Release() | op.Renew() | op.Reclaim():
                self.end(operation)
            case op.Cancel() | op.Bury() | op.SetFlow():
                self._control(operation)
            case _:
                assert_never(operation)

    # What is set up.

    def _define(self, operation: op.SetLimits | op.SetQueue | op.PauseBudget) -> None:
        now_ms = self.now_ms
        match operation:
            case op.SetLimits(budget, limits, max_in_flight, stale):
                known = self.model.budgets.get(budget)
                version = (known.definition.version if known else 0) + (0 if stale and known else 1)
                definition = BudgetDefinition(budget, version, limits, max_in_flight)

                def defined(_: Any) -> None:
                    if known is None:
                        self.model.budgets[budget] = Budget(definition)
                    if known is None or version > known.definition.version:
                        self.model.budgets[budget].define(definition, now_ms)

                self.run("set_limits", 0, codec.budget_argument(definition), then=defined)
            case op.SetQueue(number, targets, budgets, spill, weight, stale):
                before = self.model.queues[number]
                version = before.version + (0 if stale else 1)
                queue = QueueDefinition(QUEUES[number], version, targets, budgets, weight, spill)
                if version > before.version:
                    self.model.queues[number] = queue
                self.run("set_queues", codec.queue_argument(queue))
            case op.PauseBudget(budget, pause_ms, refused):
                account = self.model.budgets[budget]
                if account.paused_until_ms <= now_ms + pause_ms:
                    account.shut = not refused
                account.paused_until_ms = max(account.paused_until_ms, now_ms + pause_ms)
                account.recovering, account.probe_until_ms = True, 0
                account.pauses += 1
                self.run("pause_budget", budget, pause_ms, "429", "limit" if refused else "", "")

    # How entries come.

    def _fill(self, operation: op.Push | op.Refill | op.Repair) -> None:
        match operation:
            case op.Push(number, count, tokens, beyond, fault, raised, paused, sealed):
                flow = self.model.flows[number]
                flow.store(flow.cursor + count + beyond, tokens)
                cursor = flow.cursor + (1 if fault == "cursor" else 0)
                generation = flow.generation + (1 if fault == "generation" else 0)
                self.push(flow, generation, cursor, count, max(1, flow.version + raised), sealed=sealed, paused=paused)
            case op.Refill(at, count):
                if self.orders:
                    self.refill(self.orders.pop(at % len(self.orders)), count)
            case op.Repair(number, stale, raised, paused):
                self._repair(self.model.flows[number], stale, raised, paused)

    def refill(self, order: RefillOrder, count: int) -> None:
        """Do what a claim ordered."""
        flow = self.model.flows[FLOW_INDEX[order.flow]]
        self.push(flow, order.generation, order.cursor, min(count, order.room), max(1, flow.version))

    def push(
        self,
        flow: Flow,
        generation: int,
        cursor: int,
        count: int,
        version: int,
        *,
        sealed: bool = True,
        paused: bool | None = None,
    ) -> None:
        """Push the unfinished entries of (cursor, cursor + count]."""
        following = max(cursor, min(cursor + count, flow.stored))
        entries = flow.window(cursor, following)
        definition = flow.definition(version, sealed=sealed, paused=flow.paused if paused is None else paused)
        stale = flow.dead or (flow.known and (flow.generation, flow.cursor) != (generation, cursor))
        stale = stale or (not flow.known and cursor != 0)
        stored = flow.stored

        def pushed(reply: Any) -> None:
            assert (reply[0] == b"stale") == stale, f"push answered {reply}, should be {'stale' if stale else 'pushed'}"
            if stale:
                return
            flow.known, flow.generation, flow.cursor = True, generation, following
            flow.end, flow.sealed = max(flow.end, stored), sealed
            self._take_control(flow, version, definition.paused)
            fresh = [entry for entry in entries if entry.position not in flow.leased]
            assert reply[1] == len(fresh), f"{reply[1]} entries were pushed, should be {len(fresh)}"
            flow.waiting.update({entry.position: (entry, 0) for entry in fresh})
            if flow.finished:
                flow.forget()

        self.run("push", *codec.push_arguments(definition, generation, cursor, following, entries), then=pushed)

    def _take_control(self, flow: Flow, version: int, paused: bool) -> None:
        if version > flow.version:
            flow.version, flow.paused, flow.budgets = version, paused, FLOW_BUDGETS[flow.number]

    def _repair(self, flow: Flow, stale: bool, raised: int, paused: bool) -> None:
        generation = flow.generation + (0 if stale else 1)
        lowest = flow.lowest_unfinished()
        cursor = flow.stored if lowest is None else lowest - 1
        version = max(1, flow.version + raised)
        definition = flow.definition(version, sealed=True, paused=paused)
        refused = flow.known and (flow.generation >= generation or (flow.dead and version <= flow.version))

        def repaired(reply: Any) -> None:
            assert (reply[0] == b"stale") == refused, f"repair answered {reply}"
            if refused:
                return
            flow.known, flow.generation, flow.cursor, flow.end = True, generation, cursor, flow.stored
            flow.sealed, flow.dead = True, False
            flow.waiting.clear()
            self._take_control(flow, version, paused)

        self.run("repair", *codec.repair_arguments(definition, generation, cursor), then=repaired)

    # Who may run.

    def claim(
        self,
        holder: str,
        slots: int,
        open_slots: int,
        crowded: Sequence[str],
        lease_ms: int,
        *,
        may_suspect: bool = True,
    ) -> Claimed:
        """Claim, and check each grant."""
        now_ms, answers = self.now_ms, []

        def claimed(reply: Any) -> None:
            answer = codec.read_claim(reply, EPOCH, lease_ms)
            answers.append(answer)
            assert answer.now_ms == now_ms, f"claimed at {answer.now_ms}, should be {now_ms}"
            assert len(answer.leases) <= slots, f"{len(answer.leases)} leases for {slots} slots"
            crowded_grants = 0
            for lease in answer.leases:
                _, connection = grant(self.model, lease, holder, now_ms, lease_ms)
                crowded_grants += connection in crowded
            self._check_order(answer)
            suspects = sum(lease.entry.crashes >= SUSPECT_AFTER for lease in answer.leases)
            assert suspects <= may_suspect, f"{suspects} suspects were granted, {int(may_suspect)} may"
            assert crowded_grants <= open_slots, f"{crowded_grants} leases of crowded connections, {open_slots} may"
            if answer.refill:
                self._ordered(answer.refill)
            self.claims_again = answer.next_due_ms == 0

        args = (slots, open_slots, holder, lease_ms, WINDOW, int(may_suspect), *crowded)
        self.run("claim", *args, then=claimed, woken=True)
        return answers[0]

    def _check_order(self, answer: Claimed) -> None:
        """What waited in a flow's list is granted in the order of the list."""
        for flow, before in zip(FLOWS, self.seen.flows if self.seen else [], strict=True):
            listed = {int(text.partition(":")[0]): i for i, text in enumerate(before.entries)}
            granted = [lease.ref.position for lease in answer.leases if lease.ref.flow == flow]
            order = [listed[position] for position in granted if position in listed]
            assert order == sorted(order), f"granted {granted}, waiting in the order {list(listed)}"

    def _ordered(self, order: RefillOrder) -> None:
        flow = self.model.flows[FLOW_INDEX[order.flow]]
        found = (order.generation, order.cursor, order.end)
        assert found == (flow.generation, flow.cursor, flow.end), f"flow {flow.number}: refill ordered as {order}"
        assert order.cursor < order.end, f"flow {flow.number}: nothing is left to refill"
        self.orders.append(order)

    # Control of flows.

    def _control(self, operation: op.Cancel | op.Bury | op.SetFlow) -> None:
        flow = self.model.flows[operation.flow]
        queue, batch = codec.flow_address(FLOWS[flow.number])
        match operation:
            case op.SetFlow():
                self._set_flow(flow, operation)
            case op.Cancel():
                if not flow.known:
                    flow.generation = 0  # The tombstone of a flow that nobody pushed yet.
                flow.known = flow.dead = True
                flow.version += 1
                flow.waiting.clear()
                reply = self.run("cancel", queue, batch, flow.version)
                assert reply == [b"dead", len(flow.leased)], f"cancel answered {reply}"
            case op.Bury():
                if flow.dead and not flow.leased:
                    flow.forget()
                    self.shard.delete(f"{PREFIX}flow:{FLOWS[flow.number].queue.resource_id}:{batch}:state")
                    self.run("headroom")

    def _set_flow(self, flow: Flow, s: op.SetFlow) -> None:
        version = flow.version + (0 if s.stale else 1)
        budgets = FLOW_BUDGETS[s.flow] if s.bound else ()
        ignored = not flow.known or flow.dead or s.stale
        if not ignored:
            flow.version, flow.paused, flow.budgets = version, s.paused, budgets
        definition = FlowDefinition(FLOWS[s.flow], version, s.weight, budgets, flow.stored, paused=s.paused)
        reply = self.run("set_flow", *codec.set_flow_arguments(definition))
        assert (reply[0] == b"ignored") == ignored, f"set_flow answered {reply}"
