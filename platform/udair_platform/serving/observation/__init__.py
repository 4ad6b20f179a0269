"""What a replica measures and reports."""
