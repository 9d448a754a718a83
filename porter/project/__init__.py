"""Start a project and its ports: the files that `porter init` and `porter add` write."""
