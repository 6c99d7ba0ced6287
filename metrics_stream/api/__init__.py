"""HTTP addresses for programs: publish metrics, start and stop test runs."""
