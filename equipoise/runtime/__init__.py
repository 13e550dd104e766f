"""The shell that drives planner and dispatcher with real time and real nodes."""
