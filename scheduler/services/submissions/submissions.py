"""Batches that come as files: made, read, cancelled, whatever face they come from."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID

from scheduler.domain.errors import BadParameter, Conflict
from scheduler.domain.file import Purpose
from scheduler.domain.ids import uuid7
from scheduler.domain.public_ids import FILE, shown_id
from scheduler.domain.setup import ApiKey
from scheduler.domain.submission import (
    DEFAULT_MAX_RETRIES,
    NewSubmission,
    SourceFormat,
    Submission,
    SubmissionStatus,
    WebhookFormat,
    WebhookTarget,
)
from scheduler.ports.pages import Page
from scheduler.ports.store import Store
from scheduler.services.batches.control import BatchControl
from scheduler.services.callers.callback_guard import Resolve, resolve_host
from scheduler.services.callers.secrets import Vault
from scheduler.services.files.files import Files
from scheduler.services.submissions.batch_form import OwnWebhook, no_such_input, read_form
from scheduler.settings import Settings

_CANCELLED = (SubmissionStatus.CANCELLING, SubmissionStatus.CANCELLED)


class Submissions:
    """What faces do with submissions. resolve: from host names to addresses."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        files: Files,
        vault: Vault,
        control: BatchControl,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        resolve: Resolve = resolve_host,
    ) -> None:
        self._settings = settings
        self._store = store
        self._files = files
        self._vault = vault
        self._control = control
        self._now = now
        self._resolve = resolve

    async def create(self, key: ApiKey, raw: bytes) -> Submission:
        """A batch as OpenAI's Batch API asks for one; its input is checked later. Raises Malformed, BadParameter,
        Unavailable."""
        form = await read_form(raw, self._settings.callback_allow_hosts, self._resolve)
        file = await self._files.get(key.environment_id, form.input_file_id)
        if file is None:
            raise no_such_input(shown_id(FILE, form.input_file_id))
        if file.purpose is not Purpose.BATCH:
            raise BadParameter(
                f"Invalid value: the purpose of 'input_file_id' must be 'batch', not '{file.purpose.value}'.",
                param="input_file_id",
                reason="invalid_value",
            )
        now = self._now()
        return await self._store.submissions.create(
            NewSubmission(
                workspace_id=key.workspace_id,
                environment_id=key.environment_id,
                batch_id=uuid7(int(now.timestamp() * 1000), os.urandom(10)),
                api_key_id=key.api_key_id,
                source_format=SourceFormat.OPENAI,
                execution_mode=form.execution_mode,
                input_file_id=form.input_file_id,
                endpoint=form.endpoint,
                completion_window=form.completion_window,
                fine_priority=form.fine_priority,
                max_retries=DEFAULT_MAX_RETRIES,
                metadata=form.metadata,
                output_expires_after_s=form.output_expires_after_s,
                created_at=now,
                expires_at=now + form.window,
                targets=self.targets(form.webhook),
            )
        )

    def targets(self, own: OwnWebhook | None) -> tuple[WebhookTarget, ...]:
        """Where the events of a new submission go: the URLs of the settings, and its own. Raises Unavailable when its
        secrets cannot be sealed."""
        everywhere = WebhookFormat(self._settings.webhook_format)
        targets = [WebhookTarget(everywhere, url, None) for url in self._settings.webhook_urls]
        if own is not None:
            sealed = tuple(self._vault.seal(secret) for secret in own.secrets)
            targets.append(WebhookTarget(own.format, own.url, sealed))
        return tuple(targets)

    async def get(self, environment_id: UUID, batch_id: UUID) -> Submission | None:
        """A submission of this environment; None for all others."""
        return await self._store.submissions.get(environment_id, batch_id)

    async def page(
        self, environment_id: UUID, source_format: SourceFormat, *, limit: int, after: UUID | None
    ) -> Page[Submission]:
        """Newest first by id, so that pages neither skip nor repeat."""
        return await self._store.submissions.page(environment_id, source_format, limit=limit, after=after)

    async def before(
        self, environment_id: UUID, source_format: SourceFormat, *, limit: int, before: UUID
    ) -> tuple[Sequence[Submission], bool]:
        """Those right before one in the list, newest first, and whether there are more."""
        return await self._store.submissions.before(environment_id, source_format, limit=limit, before=before)

    async def cancel(self, submission: Submission) -> Submission:
        """Cancel it: no new call of it starts after this returns; what is finished is kept. One that is cancelled
        already is unchanged. Raises Conflict when it has ended otherwise, or all of it is finished."""
        environment_id, batch_id = submission.environment_id, submission.batch_id
        if await self._store.submissions.stop(environment_id, batch_id, expired=False) and submission.progress:
            await self._control.cancel(environment_id, batch_id)
        found = await self._store.submissions.get(environment_id, batch_id) or submission
        if found.status not in _CANCELLED:
            raise Conflict(f"Cannot cancel a batch with status '{found.status.value}'.")
        if found.progress is not None and submission.progress is None:
            # It became a batch between our look and the stop, which cancelled that too: the engine must hear of it.
            await self._control.cancel(environment_id, batch_id)
        return found
