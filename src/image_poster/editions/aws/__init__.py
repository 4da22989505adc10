"""The AWS edition: three Lambdas over one table and two buckets. `infra/template.yaml` deploys it.

settings      what the template tells each Lambda
container     which class stands for which port
api           the Lambda that answers requests that come from API Gateway
images        the Lambda that does the image work when S3 tells of an object
stream        the Lambda that applies changes that the table's stream tells of; `changes`, a batch
healing       the Lambda that does, by the clock, what lost events left undone
operate       what operators do on a stack
users         test users of a stack's own user pool
tracing       a segment in X-Ray for each call of AWS
cold_start    what makes a cold start shorter
"""
