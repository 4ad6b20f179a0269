"""Jobs on Kubernetes: each attempt is a RayJob of its own, which the KubeRay operator turns into a Ray cluster.

`settings` says what the installation chose, `rayjob` builds the object, `rules` lists every permission,
`api` asks the API server, `informer` keeps a copy of what is there, `findings` reads what it
means, and `launcher` is what the reconciler sees.
"""
