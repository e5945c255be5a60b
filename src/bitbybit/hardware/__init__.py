"""What does hardware need, and what do its shortcuts cost? Nothing here yet."""
