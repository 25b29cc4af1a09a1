"""Webhooks of batches: verified with the official clients, in OpenAI's form and in ours."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from pydantic import SecretStr, ValidationError
from standardwebhooks.webhooks import Webhook

from scheduler.settings import Settings
from tests.api.batch_desk import Desk, Receiver, jsonl, line, receiving
from tests.polling import eventually
from tests.workers.provider import answer

SECRETS = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "plain and old")


@pytest.fixture
async def everywhere() -> AsyncIterator[Receiver]:
    """Is told of every batch."""
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
def settings(settings: Settings, everywhere: Receiver) -> Settings:
    """With a global URL, whose secret is being changed."""
    new, old = map(SecretStr, SECRETS)
    changed = {"webhook_urls": (everywhere.url,), "webhook_secret": new, "webhook_secret_old": old}
    return settings.model_copy(update=changed)


async def test_global_urls_are_told_of_every_batch_and_both_secrets_sign(desk: Desk, everywhere: Receiver) -> None:
    async with desk.worker():
        ended = await desk.ended(await desk.submit(jsonl(line(1))))
        failed = await desk.ended(await desk.submit(b""))
        await eventually(lambda: {"batch.completed", "batch.failed"} <= set(everywhere.types()), "both ends")
    told = set()
    for headers, body in everywhere.taken:
        for secret in SECRETS:
            with OpenAI(api_key="x", webhook_secret=secret) as client:
                client.webhooks.unwrap(body, dict(headers))
        told.add(json.loads(body)["data"]["batch_id"])
    assert told == {ended.id, failed.id}


@pytest.mark.parametrize("name", ["webhook_secret", "webhook_secret_old"])
@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_abc", "whsec_!!!!"])
def test_a_secret_that_no_receiver_can_read_fails_at_start(name: str, secret: str) -> None:
    with pytest.raises(ValidationError, match=f"(?s){name}.*must be text, base64 behind 'whsec_'"):
        Settings.model_validate({name: secret})


async def test_the_official_client_unwraps_our_webhooks_with_either_secret(desk: Desk) -> None:
    new, old = SECRETS
    async with receiving() as receiver, desk.worker():
        hook = {"webhook_url": receiver.url, "webhook_secret": [new, old]}
        ended = await desk.ended(await desk.submit(jsonl(line(1)), extra_body=hook))
        failed = await desk.ended(await desk.submit(b"nope", extra_body=hook))
        await eventually(lambda: len(receiver.taken) == 2, "both webhooks")
    stored = await desk.fetch("SELECT unnest(secrets) AS secret FROM webhook_targets WHERE secrets IS NOT NULL")
    assert all(old.encode() not in row["secret"] and new.encode() not in row["secret"] for row in stored)
    told = {}
    for secret in (new, old):
        with OpenAI(api_key="x", webhook_secret=secret) as client:
            for headers, body in receiver.taken:
                event: Any = client.webhooks.unwrap(body, dict(headers))
                told[event.data.id] = event.type
                assert (event.object, event.id) == ("event", headers["webhook-id"])
    assert told == {ended.id: "batch.completed", failed.id: "batch.failed"}
    with OpenAI(api_key="x", webhook_secret="wrong") as client, pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.unwrap(receiver.taken[0][1], dict(receiver.taken[0][0]))


async def test_our_own_webhooks_tell_everything_in_order_and_verify(desk: Desk) -> None:
    desk.provider.reply = lambda seen: answer(seen) if seen.text != "Say 2" else (400, {}, {"error": {"message": "no"}})
    secret = SECRETS[0]
    async with receiving() as receiver, desk.worker():
        hook = {"webhook_url": receiver.url, "webhook_secret": secret, "webhook_format": "brim"}
        ended = await desk.ended(await desk.submit(jsonl(*map(line, range(3))), extra_body=hook))
        await eventually(lambda: "batch.completed" in receiver.types(), "the end")
        await eventually(lambda: len(receiver.types()) >= 7, "all events")
    types = receiver.types()
    once = ("batch.queued", "batch.started", "batch.item_failed", "batch.completed")
    assert {name: types.count(name) for name in once} == dict.fromkeys(once, 1)
    assert types.count("batch.item_completed") == 2
    assert types.count("batch.progress") >= 1
    events = {}
    for headers, body in receiver.taken:
        Webhook(secret).verify(body, dict(headers))
        event = json.loads(body)
        assert set(event) == {"event_id", "event_type", "data"}
        assert headers["X-Webhook-Id"] == event["event_id"]
        assert headers["X-Signature-256"] == headers["X-Webhook-Signature"]
        assert event["data"]["batch_id"] == ended.id
        events[event["event_type"]] = event["data"]
    assert (events["batch.queued"]["total_items"], events["batch.queued"]["execution_mode"]) == (3, "here")
    assert events["batch.item_failed"]["custom_id"] == "c2"
    assert events["batch.item_failed"]["item_id"].startswith("item_")
    assert events["batch.completed"]["counts"] == {
        "total": 3,
        "processing": 0,
        "succeeded": 2,
        "failed": 1,
        "cancelled": 0,
        "expired": 0,
    }
    assert events["batch.completed"]["duration_secs"] > 0
