"""Runs `.drone.yml` on this machine: what Drone is to the cluster, for one person and one lab."""
