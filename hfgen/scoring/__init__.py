"""Log-probabilities of given text: the one path of every score.

`scorer` computes (context ids, target ids) → log-probability and rank of each target token;
`windows` cuts long texts so that every token is scored once. Commands that score (and the server's
`echo`) build their requests and read the answers; none of them runs a model itself.
"""
