"""HTTP with what the network does to it: waits, limits, redirects, private addresses. It knows no service."""
