"""What a (processor, variant) pair costs: measured, kept, and corrected by what happens."""
