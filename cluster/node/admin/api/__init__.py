"""The management interface: RabbitMQ's HTTP paths over the catalog and the nodes' sessions."""
