"""The jets engine: Taylor coefficients of K vectors through the captured gradient."""
