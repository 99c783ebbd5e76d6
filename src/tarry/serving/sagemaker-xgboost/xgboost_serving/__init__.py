"""The server of the XGBoost image: plain modules that run inside an instance."""
