"""Draft a first port: levels of what the rules of scan found and are sure how to mend."""
