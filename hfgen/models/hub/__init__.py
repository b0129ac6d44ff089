"""The Hugging Face Hub: is it there, what does it have, fetch it, what is in the cache."""
