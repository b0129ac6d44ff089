"""Everything a user can ask of a generation: names, ranges, defaults, and what goes together.

`options` has the one dataclass, `specs` what is known of a field, `rules` which fields exclude each
other, `presets` named sets, `config` the way to Transformers' `GenerationConfig`. No torch.
"""
