"""Runs on the machines of a Ray cluster.

``driver`` is the side of the porter that verifies: it connects, sends runs as Ray tasks and takes
their traces. ``node`` is the side of a machine of the cluster. ``shipping`` brings trees and
probes there, as git objects. Ray is imported when a cluster is asked for, and never before; queues,
retries after a lost machine, and transfers are Ray's.
"""
