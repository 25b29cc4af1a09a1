"""What `up` says when it is ready."""

from dataclasses import replace
from pathlib import Path

import pytest

from brim_server.running.announcement import announcement
from brim_server.running.configuration import Address
from brim_server.running.keys import KeptKey
from brim_server.running.plan import Plan

PLAN = Plan(
    config=Path("brim.toml"),
    data_dir=Path("/data"),
    temporary_data=False,
    host="127.0.0.1",
    port=3000,
    workers=1,
    demo=False,
    command=(),
)
PROD = Address("acme/prod", "w1", "e1", "brim_secret", "dev")
ADMIN = KeptKey("brim_admin_secret", made=False)
URL = "http://127.0.0.1:3000"


def told(plan: Plan, *addresses: Address) -> list[str]:
    return announcement(plan, URL, ADMIN, [], addresses, None).splitlines()


def test_it_ends_with_what_to_paste_and_names_the_other_environments() -> None:
    stage = replace(PROD, name="acme/stage", environment_id="e2", api_key=None)
    assert told(PLAN, PROD, stage)[-5:] == [
        "To use it from another terminal, as acme/prod:",
        f"  export BRIM_URL={URL}",
        "  export BRIM_WORKSPACE=w1 BRIM_ENVIRONMENT=e1",
        "  export BRIM_API_KEY=brim_secret",
        "  acme/stage: BRIM_WORKSPACE=w1 BRIM_ENVIRONMENT=e2",
    ]


@pytest.mark.parametrize(("name", "said"), [("dev", "that of 'dev'"), (None, "names none")])
def test_a_key_that_is_not_known_is_not_made_up(name: str | None, said: str) -> None:
    last = told(PLAN, replace(PROD, api_key=None, api_key_name=name))[-1]
    assert last.startswith("  # BRIM_API_KEY")
    assert said in last


def test_beside_a_command_no_key_is_told() -> None:
    assert told(replace(PLAN, command=("true",)), PROD) == [f"Brim is ready: {URL}", "  data       /data"]
