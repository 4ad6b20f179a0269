"""A domain's images: listing, pinned snapshots, loading."""
