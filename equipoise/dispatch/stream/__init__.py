"""The dispatcher of streams: items that keep arriving, each of which is answered in time or named as shed."""
