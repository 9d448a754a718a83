"""Recipe files: schema, loading, checks."""
