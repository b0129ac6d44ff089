"""`hfgen chat`: a dialogue on the terminal or through a pipe, and what was saved of others."""
