"""The API over real stores, called in process."""
