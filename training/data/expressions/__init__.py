"""The row language: small expressions that compute a value from the columns of a row, and never run long."""
