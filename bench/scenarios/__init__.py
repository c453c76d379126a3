"""All scenarios, in the order in which they run."""

from scenarios import breadth, depth, disk, patience, throughput

ALL = [*throughput.SCENARIOS, *breadth.SCENARIOS, *disk.SCENARIOS, *patience.SCENARIOS, *depth.SCENARIOS]
