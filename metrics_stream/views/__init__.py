"""HTTP pages for people: dashboards, status, test runs, share links, sign-in."""
