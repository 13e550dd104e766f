"""The nouns: frozen, checked when made, without behaviour that needs the outside world."""
