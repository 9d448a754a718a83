"""Work trees of levels: making, moving and exporting them."""
