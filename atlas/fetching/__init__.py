"""Pictures that a site shows, fetched from where they were found: safely, politely, only when asked."""
