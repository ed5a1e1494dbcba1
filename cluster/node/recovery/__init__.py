"""What is left when a majority of the volumes is lost for good: `clusterd recover`, of a node that is stopped."""
