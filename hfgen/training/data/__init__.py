"""From raw rows to batches: what columns mean, token ids, which of them are target tokens."""
