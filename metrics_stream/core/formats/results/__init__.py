"""Result files of load tools: one module for each tool turns its file into the same figures."""
