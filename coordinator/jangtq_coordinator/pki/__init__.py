"""The cluster's certificate authority and the folders of certificates."""
