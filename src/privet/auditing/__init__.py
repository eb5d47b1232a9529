"""Fresh adversaries against a defended split: threats, floors, the battery, its checks, and the estimates that come
out."""
