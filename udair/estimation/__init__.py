"""What can be told about a domain's damage from its images alone: values, how sure they are, what they rest on."""
