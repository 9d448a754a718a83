"""Everything that a machine without a network needs of a project, in one file."""
