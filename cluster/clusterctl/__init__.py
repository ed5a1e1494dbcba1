"""The operator's command. Talks HTTP only."""
