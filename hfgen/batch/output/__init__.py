"""Records of a batch: claimed, appended row by row, resumed, merged."""
