"""How it is said: alone knows nats-py, uvicorn and signals."""
