"""How does it look? Figures, diagrams and HTML tables of what the other rooms computed."""
