"""Built-in goal kinds, a file each."""
