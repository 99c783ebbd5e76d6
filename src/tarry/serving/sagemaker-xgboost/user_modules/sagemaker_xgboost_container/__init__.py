"""What scripts written for the container import: the decoders of ``sagemaker_xgboost_container.encoder``."""
