"""Request and cluster in, plan out: pure functions."""
