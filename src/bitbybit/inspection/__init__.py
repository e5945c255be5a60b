"""What do parameters and activations look like? Ranges, histograms, errors, costs: plain data."""
