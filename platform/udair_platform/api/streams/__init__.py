"""Events and logs as they happen: `text/event-stream`, resumed from the last id that a client has seen."""
