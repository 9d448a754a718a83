"""Machine-readable results: JSON, JUnit, SARIF, GitHub annotations."""
