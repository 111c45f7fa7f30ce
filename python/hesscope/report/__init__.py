"""What a person reads: the picture, the table and the two sentences about a spectrum."""
