"""The three services and the runtime they share."""
