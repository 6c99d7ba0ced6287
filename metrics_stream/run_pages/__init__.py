"""The pages of test runs: the list, one run, and its files for other programs."""
