"""Whether memory grows: one server, clients that come and go, and a recorded test run, for an hour."""
