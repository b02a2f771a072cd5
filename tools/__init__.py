"""What the makers of the course run: each module is a command."""
