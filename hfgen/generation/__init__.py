"""From a prompt to text: options, the decoding engine, text decoding, records.

See `hfgen.generation.engine` for the design of the decoding path.
"""
