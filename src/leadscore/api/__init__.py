"""The service: scores where the CRM is, over HTTP."""
