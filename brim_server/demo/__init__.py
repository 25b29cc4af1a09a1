"""The demonstration set-up: a tenant whose one connection leads to the simulator, with limits that bind."""

import secrets
import string
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

WORKSPACE_ID = "11111111-1111-4111-8111-111111111111"
ENVIRONMENT_ID = "22222222-2222-4222-8222-222222222222"
RESOURCE = "sim-model"
REQUESTS_PER_MINUTE = 300
TOKENS_PER_MINUTE = 100_000
_LATENCY_MS = 400


@dataclass(frozen=True, slots=True)
class Demo:
    """One demonstration: its set-up file and the key that callers use."""

    config: Path
    api_key: str
    simulator_url: str


def prepare_demo(folder: Path, simulator_port: int) -> Demo:
    """Write the set-up for a simulator on `simulator_port` into `folder`, readable by its owner alone."""
    api_key = "brim_" + secrets.token_urlsafe(32)
    template = string.Template((files(__name__) / "brim.toml").read_text(encoding="utf-8"))
    config = folder / "demo.toml"
    config.touch(mode=0o600)
    config.write_text(
        template.substitute(
            workspace_id=WORKSPACE_ID,
            environment_id=ENVIRONMENT_ID,
            resource=RESOURCE,
            requests_per_minute=REQUESTS_PER_MINUTE,
            tokens_per_minute=TOKENS_PER_MINUTE,
            simulator_port=simulator_port,
            api_key=api_key,
        ),
        encoding="utf-8",
    )
    return Demo(config, api_key, f"http://127.0.0.1:{simulator_port}")


def simulator_arguments(port: int) -> tuple[str, ...]:
    """Return the options of `brim-server simulate` that make it enforce the demonstration's limits."""
    return (
        *("--port", str(port)),
        *("--rpm", str(REQUESTS_PER_MINUTE)),
        *("--tpm", str(TOKENS_PER_MINUTE)),
        *("--shape", "sliding"),
        *("--latency-ms", str(_LATENCY_MS)),
    )
