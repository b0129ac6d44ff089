"""Rows of a batch: read from files of any format, understood, or turned into an error record."""
