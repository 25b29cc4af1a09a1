"""Routes, one file per noun; thin: they read the request, call one service and answer with a view."""
