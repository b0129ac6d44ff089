"""The model that is trained: loaded, given an adapter, or made anew, and the device it is on."""
