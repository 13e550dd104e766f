"""The laboratory: what planning jointly is worth, on published boards and on the user's own.

`catalogue` has published boards and what they cost; `grid` asks every strategy for the same promises; `gains` says
what a gain is; `paper` puts them together. docs/paper.md defines every figure.
"""
