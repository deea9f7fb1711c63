"""What every job stands on: errors, whole files, digests, devices, logs."""
