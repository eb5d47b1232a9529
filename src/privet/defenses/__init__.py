"""One file per published method; the folder is the registry (see `privet.registry`)."""
