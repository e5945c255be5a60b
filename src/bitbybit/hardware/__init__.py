"""What does hardware need, and what do its shortcuts cost? Widths, vectors, checks."""

__all__: list[str] = []
