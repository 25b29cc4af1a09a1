"""The audit of dependencies: it finds what is known, and never stops work where it cannot ask."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / ".ci" / "audit.py"


def audit(url: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], env={**os.environ, "OSV_URL": url}, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout


@contextmanager
def osv(weak: str) -> Iterator[str]:
    """A server that knows of one weak package."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))["queries"]
            found = [{"vulns": [{"id": "TEST-1"}]} if each["package"]["name"] == weak else {} for each in asked]
            body = json.dumps({"results": found}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_known_weakness_fails_the_audit() -> None:
    with osv("aiohttp") as url:
        code, said = audit(url)
    assert code == 1
    assert "aiohttp" in said
    assert "TEST-1" in said


def test_without_a_weakness_it_says_what_it_looked_at() -> None:
    with osv("nothing-of-ours") as url:
        code, said = audit(url)
    assert code == 0
    assert "no known weakness in" in said


def test_a_service_that_does_not_answer_is_named_and_stops_nobody() -> None:
    code, said = audit("http://127.0.0.1:9")
    assert code == 0
    assert "NOT DONE" in said
