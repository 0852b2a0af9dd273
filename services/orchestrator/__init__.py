"""Chat event in, mission out; commands; replies."""
