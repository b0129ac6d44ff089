"""Many prompts from files to one record each: batched, resumable, bounded in memory.

Rows
    `reading` streams rows from files and standard input, `rows` says what a row means (`names`:
    how its options may be called; `openai`: the rows of OpenAI's batch files). A row's index is its
    place among the lines that are not blank, and with it comes its seed: a row's text depends on
    nothing else. What is no JSON object or string is *malformed* (`file:line: reason`); a row
    whose prompt, options or length are wrong *fails*: its record holds the error, and the run ends
    with status 3. `remarks` are notices about fields and ids, once each.

Decoding
    `decoding` keeps a look-ahead of prepared texts and gives the engine those of equal length
    together, the oldest first. Rows leave in any order; `ordering` puts them into input order. How
    many may be on their way is bounded, hence memory is. Out of memory, half the slots go on.

Output
    The file is claimed before anything is checked (`hfgen.claims`). Each row's records are appended
    in one write. `done` reads them back for a resume: a record repeats all that its row said (an
    answer in OpenAI's shape, `openai_answers`, a fingerprint of it), so that another input is
    noticed. Where rows cannot simply be appended in order (several processes, rows missing in the
    middle, failed rows run again) they go to *parts*, `OUT.rank-K`, and `merging` puts parts and
    OUT together, in order, under a temporary name. `sidecar` keeps the settings in `OUT.run.json`,
    the drawn seed and the model's fingerprint among them.

`run` ties these together. Nothing here prints or knows about flags.
"""
