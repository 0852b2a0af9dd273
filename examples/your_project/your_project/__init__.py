"""A project of yours."""
