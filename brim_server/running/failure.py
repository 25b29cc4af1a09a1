"""The one error of starting."""


class StartFailed(Exception):
    """Brim cannot start as asked; the message says why and what the person can do."""
