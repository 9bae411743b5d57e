"""Runs `.drone.yml` on this machine: what Drone is to the cluster, for one person and one lab."""


class LabError(Exception):
    """What a person can put right; the message says what it is and what to type."""
