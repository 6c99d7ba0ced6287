"""One module per command; its help text says what it does."""
