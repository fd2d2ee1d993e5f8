"""`agentevol up`: Prefect's server, a worker and MLflow's pages on this machine, with the deployments of prefect.yaml."""
