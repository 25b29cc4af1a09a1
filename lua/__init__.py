"""The engine's Lua scripts, one verb a file, as package resources."""
