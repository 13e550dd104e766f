"""Policies that decide online, item by item, as the literature's serving systems do; to compare with."""
