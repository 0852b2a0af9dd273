"""What is said: messages, lifecycle, subjects and topology as data and pure functions. No I/O."""
