"""The worker process: asyncio duties, one file each."""
