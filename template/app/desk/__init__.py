"""An example to keep or to delete: a support desk that knows a customer's orders. It is yours."""
