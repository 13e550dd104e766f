"""Follows one request from plan to last answer: events in, commands out, no I/O and no clock."""
