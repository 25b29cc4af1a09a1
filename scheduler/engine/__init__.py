"""The engine on Redis: who may run now. Scripts in lua/, one method each in redis_engine.py."""
