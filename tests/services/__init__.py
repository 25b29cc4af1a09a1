"""Services without servers."""
