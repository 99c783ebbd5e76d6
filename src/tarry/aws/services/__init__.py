"""One module (or package) per AWS service: operations as functions from parameters to answers."""
