"""Small data sets in the layouts of the real ones, with drawn faces."""
