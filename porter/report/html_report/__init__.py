"""One HTML file (or JSON, Markdown) with the results of stored verifications."""
