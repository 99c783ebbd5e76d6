"""`make bench`: rates as ratios from one run on one machine, raw figures kept as JSON in bench/results."""
