"""What goes over the socket: spelling, decoding, and the fold to items, responses and errors. No I/O, no clock."""
