"""What reaches the log of a process: never what a call had in its hands."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

FAILING = """
import logging, structlog
from scheduler.logs import configure_logs
from scheduler.settings import Settings

def work(prompt, api_key):
    raise ValueError("it broke")

configure_logs(Settings(log_format="{form}"), "api")
for log in (structlog.get_logger("ours").exception, logging.getLogger("theirs").exception):
    try:
        work("TELL-NOBODY", "sk-TELL-NOBODY")
    except ValueError:
        log("it.failed")
"""


SPEAKING = """
import structlog
from scheduler.logs import configure_logs
from scheduler.settings import Settings

configure_logs(Settings(log_format="console"), "api")
structlog.get_logger().info("request.answered", method="GET", status=200, api_key_id=None, said="two\\nlines")
"""


def test_a_line_for_people_is_short_and_one_line() -> None:
    run = subprocess.run([sys.executable, "-c", SPEAKING], capture_output=True, text=True, check=True)
    time_of_day, _, rest = run.stderr.partition(" ")
    assert re.fullmatch(r"\d\d:\d\d:\d\d", time_of_day)
    assert rest.split() == ["[info", "]", "api", "request.answered", "method=GET", "status=200", "said='two\\nlines'"]


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_logged_exception_holds_no_local_variables(form: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", FAILING.replace("{form}", form)], capture_output=True, text=True, check=True
    )
    assert run.stderr.count("it broke") >= 2
    assert "in work" in run.stderr or '"work"' in run.stderr
    # The source line itself may be quoted in a traceback; a variable's name with its value must not.
    assert "prompt =" not in run.stderr
    assert '"locals"' not in run.stderr
    assert "sk-TELL-NOBODY'" not in run.stderr.replace('work("TELL-NOBODY", "sk-TELL-NOBODY")', "")
