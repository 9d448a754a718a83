"""Run probes: processes, fork servers, the schedule, working folders."""
