"""What a healthy client and a healthy producer notice of a neighbour that uses all its limits at once."""
