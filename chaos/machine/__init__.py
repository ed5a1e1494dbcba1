"""What the nodes of a run stand on: networks, disks, clocks and memory that can be made to fail."""
