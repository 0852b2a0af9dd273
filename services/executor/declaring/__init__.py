"""What `@goal` was told, checked against the function before anything runs."""
