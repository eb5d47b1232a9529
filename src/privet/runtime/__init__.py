"""What ships: bundles and exported graphs."""
