"""The whiteboard: records in, journal and HTTP out."""
