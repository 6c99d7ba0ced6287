"""Who may see and do what: grants, credentials, visible objects, and watching for changes."""
