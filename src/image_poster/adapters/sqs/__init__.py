"""The dead-letter place on AWS: one SQS queue for each Lambda that gives up."""
