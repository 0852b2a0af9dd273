"""HTTP goal kinds."""
