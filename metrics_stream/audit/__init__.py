"""The audit log: who read what, who used which token from where, and who changed rights."""
