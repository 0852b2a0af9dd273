"""What handlers say, save, keep and ask while they run, on its way into records."""
