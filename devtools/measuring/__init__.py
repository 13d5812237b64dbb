"""What the pack costs in time and memory, and how exact it is."""
