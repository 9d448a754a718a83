"""Replace torch's own functions, so that they support simulated devices."""
