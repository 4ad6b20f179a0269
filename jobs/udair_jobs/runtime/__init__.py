"""What every job process needs: arguments, cancellation, progress, Ray."""
