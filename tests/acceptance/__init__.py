"""The promises from outside: processes, over HTTP, against a provider that judges."""
