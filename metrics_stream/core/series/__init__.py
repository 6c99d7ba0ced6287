"""Time series as columns: fold metrics into buckets, encode and thin out columns."""
