"""Models that travel: who has a model file hands it out; who lacks one fetches it, checks it, keeps it for a while."""
