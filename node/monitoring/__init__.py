"""What machines ask: /health for load balancers and probes, /metrics for Prometheus.

Without patient data, so that it needs no login; on a listen address of its own.
"""
