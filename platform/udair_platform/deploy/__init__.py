"""The platform on a cluster: from one settings file to manifests, and from manifests to a cluster."""
