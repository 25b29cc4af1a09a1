"""What there is: connections, resources, pools and keys, by API and by file, and as callers and workers see it."""
