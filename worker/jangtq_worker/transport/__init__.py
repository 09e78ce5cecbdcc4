"""How calls reach a worker and answers leave it: gRPC and the express transport."""
