"""What answers requests of other machines: the web demo and the HTTP API, over uploads read within limits."""
