"""The AWS edition: four Lambdas over one table and two buckets. `infra/template.yaml` deploys it.

- settings: the environment that the template gives each Lambda
- container: the class for each port
- api: the Lambda that answers requests from API Gateway
- images: the Lambda that processes images when S3 notifies it of an object
- stream: the Lambda that applies changes from the table's stream; `changes` applies a batch
- reconciliation: the scheduled Lambda that does the work of lost events
- operate: the operators' commands on a stack
- users: test users of a stack's own user pool
- tracing: a segment in X-Ray for each call of AWS
- cold_start: a shorter cold start
"""
