"""Late arrivals of flights."""
