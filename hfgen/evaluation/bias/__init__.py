"""Stereotypes by likelihood: which of two sentences that differ in a group is the likelier.

`pairs` compares sentence pairs (CrowS-Pairs, WinoBias, a file of one's own, a template),
`stereoset` does StereoSet's intrasentence test, `summary` says in plain words what the figures
mean, and `plot` draws them. Both tests are `Task`s; `data/` has a small set of our own.
"""
