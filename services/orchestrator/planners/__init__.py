"""Ways to understand a chat event: each returns goals, a refusal, or None when the event is not for it."""
