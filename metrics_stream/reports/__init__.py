"""What is said of test runs beyond their own pages: comparisons."""
