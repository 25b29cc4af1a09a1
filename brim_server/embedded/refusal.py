"""The one error of the embedded servers."""


class EmbeddedRefused(Exception):
    """The embedded servers cannot run here; the message says why and what the person can do.

    Retrying without changing anything does not help.
    """
