"""One module per raster format: checks the header, and keeps only what the pixels need."""
