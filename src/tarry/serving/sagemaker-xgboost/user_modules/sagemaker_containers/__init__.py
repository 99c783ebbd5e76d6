"""What scripts written for the container import from sagemaker_containers: see beta.framework."""
