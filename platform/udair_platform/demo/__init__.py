"""`udair demo`: a customer's whole journey over real parts, with the truth kept aside to report PSNR."""

from udair_platform.demo.journey import run_demo

__all__ = ["run_demo"]
