"""What a run will do and take, decided before its first step: steps, rates, memory, time."""
