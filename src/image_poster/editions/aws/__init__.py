"""The AWS edition: three Lambdas over one table and two buckets. `infra/template.yaml` deploys it.

settings      what the template tells each Lambda
parts         which class stands for which port
cold_start    what makes a cold start shorter
emf           log lines that are metrics as well
observing     the one of each request
identity      who is asking
following     a batch of the stream
api           answers requests that come from API Gateway
image_stored  does the image work when S3 tells of an object
stream        follows changes that the table's stream tells of
operate       what operators do on a stack
"""
