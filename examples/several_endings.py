"""Several endings for one beginning, and the one the model itself finds most likely.

Run: python examples/several_endings.py
"""

import hfgen

BEGINNING = "The old fox looked at the little bird and said,"

lm = hfgen.load("storyteller")
endings = lm.generate(
    [BEGINNING], num_return_sequences=4, max_new_tokens=30, seed=7, logprobs=0, stop_strings=["\n"]
)
for ending in endings:
    assert ending.logprobs is not None
    mean = sum(token.logprob for token in ending.logprobs) / len(ending.logprobs)
    print(f"{mean:6.2f}  seed {ending.seed}  {ending.completion.strip()}")

best = max(endings, key=lambda e: sum(t.logprob for t in e.logprobs or ()) / e.completion_tokens)
again = lm.generate(BEGINNING, max_new_tokens=30, seed=best.seed, stop_strings=["\n"])
print("\nLikeliest:", again.text)
