"""Every setting of Brim: read from the environment once, under the prefix BRIM_. docs/operations.md lists them all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from scheduler.domain.submission import STANDARD_SECRET, is_readable_secret


class Settings(BaseSettings):
    """Frozen settings of one process. A bad value fails at start with the name of the variable."""

    model_config = SettingsConfigDict(env_prefix="BRIM_", frozen=True, extra="ignore")

    redis_url: str = Field(
        "redis://127.0.0.1:6379/0",
        description="Redis or Valkey: redis://, rediss:// or unix://; a cluster: redis+cluster:// or rediss+cluster://.",
    )
    database_url: str = Field("postgresql://127.0.0.1:5432/brim", description="Postgres DSN.")
    admin_key: SecretStr | None = Field(None, description="Key that may manage everything. None: nobody may.")
    secret_key: SecretStr | None = Field(
        None, description="Encrypts provider secrets at rest (any text of 32 characters or more)."
    )
    host: str = Field("127.0.0.1", description="Address that the API listens on.")
    port: int = Field(3000, ge=0, le=65535, description="Port of the API; 0 picks a free one.")
    shards: int = Field(16, ge=1, le=1024, description="Shards, fixed at the first start of a database.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe log line shown.")
    log_format: Literal["json", "console"] = Field("json", description="json for machines, console for people.")

    worker_concurrency: int = Field(1000, ge=1, le=10_000, description="Attempts in flight per worker process.")
    claim_size: int = Field(100, ge=1, le=128, description="Most entries taken by one claim.")
    lease_ms: int = Field(10_000, ge=1_000, le=600_000, description="How long a silent worker keeps an entry, in ms.")
    drain_s: float = Field(12.0, gt=0, le=600, description="Grace for calls in flight after SIGTERM, in seconds.")
    start_by_ms: int = Field(150, ge=20, le=200, description="A call leaves within this time of its claim, in ms.")
    default_output_tokens: int = Field(
        16,
        ge=0,
        le=1_000_000,
        description="Output tokens reserved for a request without max_tokens, until answers were seen.",
    )
    window_entries: int = Field(10_000, ge=100, le=100_000, description="Entries of one flow kept in Redis.")
    safety_poll_s: float = Field(5.0, ge=0.1, le=60, description="Slow poll that covers a lost wake-up, in seconds.")
    reconcile_s: float = Field(
        5.0, ge=0.2, le=300, description="Pause between two looks of the reconciler, in seconds."
    )
    park_s: float = Field(
        3_600.0,
        ge=60,
        le=2_764_800,
        description="A parked connection is tried again after this, in seconds, where its provider does not say when.",
    )
    retention_days: float | None = Field(
        None, ge=1, description="Batches that ended are forgotten so many days after their creation; none: never."
    )
    native_poll_s: float = Field(
        15.0, ge=0.1, le=3600, description="Between two looks at a batch that runs at its provider, in seconds."
    )
    allow_noop: bool = Field(False, description="Allow connections of provider noop (benches).")

    max_body_bytes: int = Field(104_857_600, ge=1024, description="Largest JSON body of a request, in bytes.")
    bodies_bytes: int = Field(
        419_430_400,
        ge=1024,
        description="Large JSON bodies that an API process holds at once, in bytes; more are told to come again (429).",
    )
    max_batch_items: int = Field(1_000_000, ge=1, description="Most items of a JSON batch.")
    max_line_bytes: int = Field(10_485_760, ge=1024, description="Longest line of an NDJSON batch, in bytes.")
    client_stall_s: float = Field(
        60.0,
        gt=0,
        le=3_600,
        description="A client that takes nothing of an answer or sends nothing of a JSON body is cut off, in seconds.",
    )
    read_patience_s: float = Field(
        5.0,
        gt=0,
        le=600,
        description="A read whose answer has not begun by then is answered 503 with Retry-After, in seconds.",
    )
    upload_silence_s: float = Field(
        600.0,
        gt=0,
        le=86_400,
        description="An upload (NDJSON or file) that is silent for so long is given up, in seconds.",
    )
    files_dir: Path = Field(
        Path(".brim/files"), description="Folder of uploaded and written files; all API and worker processes share it."
    )
    files_url: str | None = Field(
        None, description="Object store that holds the files in place of the folder: s3://bucket/prefix."
    )
    max_file_bytes: int = Field(209_715_200, ge=1024, description="Largest uploaded file, in bytes.")
    spool_dir: Path | None = Field(
        None, description="Folder in which every batch of the OpenAI face is spooled while it runs."
    )
    max_file_lines: int = Field(
        50_000, ge=1, le=10_000_000, description="Most requests of a batch that comes as a file."
    )
    webhook_urls: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="URLs that are told of every batch that comes as a file; comma list."
    )
    webhook_secret: SecretStr | None = Field(None, description="Signs what goes to `BRIM_WEBHOOK_URLS`.")
    webhook_secret_old: SecretStr | None = Field(
        None, description="The secret before it: while it is set, both sign, so that receivers can change over."
    )
    webhook_format: Literal["openai", "brim"] = Field(
        "brim", description="Of what goes to `BRIM_WEBHOOK_URLS`: openai tells of ends only."
    )
    callback_allow_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Hosts that callbacks may reach although they are private; comma list."
    )
    delivery_concurrency: int = Field(64, ge=1, le=1000, description="Callbacks in flight per process.")
    delivery_host_concurrency: int = Field(8, ge=1, le=1000, description="Callbacks in flight per receiver.")

    @field_validator("callback_allow_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip().lower() for part in value.split(",") if part.strip())
        return value

    @field_validator("webhook_urls", mode="before")
    @classmethod
    def _split_urls(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("webhook_urls")
    @classmethod
    def _are_urls(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for url in value:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError("each of BRIM_WEBHOOK_URLS must begin with http:// or https:// and name a host")
        return value

    @field_validator("webhook_secret", "webhook_secret_old")
    @classmethod
    def _is_readable(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not is_readable_secret(value.get_secret_value()):
            raise ValueError(f"must be text, base64 behind '{STANDARD_SECRET}'")
        return value

    @model_validator(mode="after")
    def _secret_is_long_enough(self) -> Settings:
        if self.secret_key is not None and len(self.secret_key.get_secret_value()) < 32:
            raise ValueError("BRIM_SECRET_KEY must have 32 characters or more")
        return self

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        """The secrets of BRIM_WEBHOOK_URLS, the newest first."""
        given = (self.webhook_secret, self.webhook_secret_old)
        return tuple(secret.get_secret_value() for secret in given if secret is not None)

    @property
    def renew_every_ms(self) -> int:
        """Pause between two renewals: well under a third of the lease, so that two may fail."""
        return self.lease_ms // 4
