"""The launchers there are, by the name that Settings.launcher gives them.

Loads the standard library only: the supervisor of every local job lives in this package.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from udair_platform.scheduler.launcher import Launcher
    from udair_platform.settings import Settings


def make_launcher(settings: Settings) -> Launcher:
    """The launcher that `settings` ask for; nothing is contacted yet.

    Raises:
        SettingsError: `kuberay`, with a bad setting of its own, or without the Kubernetes client.
        LauncherDown: `kuberay`, and neither a kubeconfig nor a pod's account.
    """
    if settings.launcher == "local":
        from udair_platform.scheduler.launchers.local import LocalLauncher

        return LocalLauncher(settings.home / "launcher", python=settings.job_python or sys.executable)
    # ray and kubernetes take seconds to import; a platform that runs subprocesses never pays for them.
    if settings.launcher == "kuberay":
        try:
            from udair_platform.scheduler.launchers.kuberay.launcher import make_kuberay_launcher
        except ModuleNotFoundError as error:
            from udair_platform.errors import SettingsError

            raise SettingsError(
                f"UDAIR_LAUNCHER is 'kuberay', and the Python package {error.name} is not installed; "
                "run: pip install 'udair[k8s]'."
            ) from error
        from udair_platform.scheduler.launchers.kuberay.settings import load_kube_settings

        return make_kuberay_launcher(settings, load_kube_settings())
    from udair_platform.scheduler.launchers.ray import RayLauncher

    return RayLauncher(
        settings.ray_address,
        python=settings.job_python or "python",
        num_cpus=settings.job_cpus,
        num_gpus=settings.job_gpus,
    )
