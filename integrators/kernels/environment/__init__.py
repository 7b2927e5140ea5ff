"""The loop opened up between the record and the decision, for the environments."""
