"""Builds on this machine: what Drone is to a cluster, for one person and one lab."""
