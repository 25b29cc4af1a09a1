"""Anthropic's native wire: chat completions in our items' form, translated there and back; all but the call is pure."""
