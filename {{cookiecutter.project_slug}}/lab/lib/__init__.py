"""What processes and notebooks share, imported as `lib.…`."""
