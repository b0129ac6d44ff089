"""What a model is and needs, known without loading it: shape, parameters, memory."""
