"""Drone's rules as functions of data: nothing here reads a file, runs git or starts a process."""
