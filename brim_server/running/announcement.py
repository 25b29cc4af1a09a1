"""What `up` tells the person once everything runs: where it is, what was made, and how to use it."""

import shlex
from collections.abc import Sequence

from brim_server.demo import Demo
from brim_server.running.configuration import Address
from brim_server.running.keys import KeptKey
from brim_server.running.plan import Plan

NOTHING_SET_UP = """
Nothing is set up yet: describe your provider in brim.toml (README.md, "Use it") and start
again in its folder, or use the API with the admin key. To look around: brim-server up --demo"""
"""What to do next with a Brim that knows no provider."""


def announcement(
    plan: Plan, url: str, admin_key: KeptKey, made: Sequence[str], addresses: Sequence[Address], demo: Demo | None
) -> str:
    """Return the lines for a terminal that is ours: with `-- COMMAND` it is the command's, so only the first.

    made: objects of the set-up that are new or changed. addresses: of its environments, the one to use first.
    """
    lines = [f"Brim is ready: {url}"]
    if not plan.temporary_data:
        lines.append(f"  data       {plan.data_dir}")
    if plan.command:
        return "\n".join(lines)
    if admin_key.made:
        lines.append(f"  admin key  {admin_key.text}  (made now, kept in {plan.data_dir / 'admin.key'})")
    if plan.config is not None:
        lines.append(f"  set-up     {plan.config}{'' if made else ', unchanged'}")
    if demo is not None:
        lines.append(f"  simulator  {demo.simulator_url}")
    lines.extend(f"  {line}" for line in made)
    return "\n".join([*lines, *_how_to_use(url, addresses)])


def _how_to_use(url: str, addresses: Sequence[Address]) -> list[str]:
    if not addresses:
        return []
    first, *others = addresses
    lines = [
        f"To use it from another terminal, as {first.name}:",
        f"  export BRIM_URL={url}",
        f"  export BRIM_WORKSPACE={first.workspace_id} BRIM_ENVIRONMENT={first.environment_id}",
    ]
    if first.api_key is not None:
        lines.append(f"  export BRIM_API_KEY={shlex.quote(first.api_key)}")
    elif first.api_key_name is not None:
        lines.append(f"  # BRIM_API_KEY is that of {first.api_key_name!r}, shown when it was made")
    else:
        lines.append("  # BRIM_API_KEY: the set-up names none; a [[workspace.environment.api_key]] makes one")
    lines.extend(
        f"  {each.name}: BRIM_WORKSPACE={each.workspace_id} BRIM_ENVIRONMENT={each.environment_id}" for each in others
    )
    return lines
