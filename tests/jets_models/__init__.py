"""Models that the jets engine is tested on, and what is claimed for each of them."""
