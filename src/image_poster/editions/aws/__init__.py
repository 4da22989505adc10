"""The AWS edition: five Lambdas over one table and two buckets. `infra/template.yaml` deploys it.

- settings: the environment that the template gives each Lambda
- container: the class for each port; the review hook, which the image Lambda asks
- api: the Lambda that answers requests from API Gateway
- origin: the secret by which requests from CloudFront are recognized
- images: the Lambda that processes images when S3 notifies it of an object
- background: the Lambdas that apply the table's stream and reconcile lost events
- events: the changes in a stream batch; users' quotas, enforced from usage that the stream adds up
- image_work: the image work that events start; renditions that move after a decision
- reconciliation: finds and finishes work whose events were lost; the deletion of accounts
- event_bus: events for other programs, derived from the table's stream
- event_function: the Lambda that puts these events on the stack's event bus
- operate: the operators' commands on a stack
- tracing: a segment in X-Ray for each call of AWS
- cold_start: a shorter cold start
"""
