"""One file per attack; the folder is the registry (see `privet.registry`)."""
