"""Who belongs to a cluster: its authority, invitations, certificates, and what the authority has decided."""
