"""The platform: control plane, scheduler, serving and their clients, over the jobs and the method."""
