"""uvicorn protocol classes and the supervisor of worker processes."""
