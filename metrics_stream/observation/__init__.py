"""What a process knows to be wrong with itself."""
