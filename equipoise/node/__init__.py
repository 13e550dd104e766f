"""What runs on the board: takes tasks, prepares items, infers, answers."""
