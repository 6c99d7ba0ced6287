"""The pure part: no Django, no Channels, no clock, no event loop, no I/O."""
