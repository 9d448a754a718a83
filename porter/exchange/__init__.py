"""Take patches from elsewhere into a series, and give levels to others."""
