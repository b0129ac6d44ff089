"""Many prompts from files to one record each: batched, resumable, bounded in memory.

Rows
    `reading` streams rows from files and standard input, `rows` tells what a row means (`openai`:
    those of OpenAI's batch files). A row's index is its place among the lines that are not blank,
    and with it comes its seed: a row's text depends on nothing else. A row that is no JSON, or has
    no prompt, is *malformed* (`file:line: reason`); one whose options or length are wrong *fails*:
    its record holds the error, and the run ends with status 3.

Decoding
    `decoding` keeps a look-ahead of prepared texts and gives the engine those of equal length
    together, the oldest first. Rows leave in any order; `ordering` puts them into input order. How
    many may be on their way is bounded, hence memory is. Out of memory, half the slots go on.

Output
    Each row's records are appended in one write. `done` reads them back for a resume: a record
    repeats all that its row said, so that another input is noticed. Where rows cannot simply be
    appended in order (several processes, rows missing in the middle, failed rows run again) they
    go to *parts*, `OUT.rank-K`, and `merging` puts parts and OUT together, in order, under a
    temporary name. `sidecar` keeps the settings, the drawn seed among them, in `OUT.run.json`.

`run` ties these together. Nothing here prints or knows about flags.
"""
