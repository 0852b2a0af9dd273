"""Where handlers run: never on the service's own event loop."""
