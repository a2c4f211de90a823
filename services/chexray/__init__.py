"""One chest radiograph in, finding probabilities and a heatmap out."""
