"""Where kernels run: the agent's protocol over a stream of bytes, and devices. `csrc/` is the agent in C."""
