"""Metrics, for editions whose processes last long enough to be asked."""

from litestar import Response, get

from image_poster.http import metrics
from image_poster.http.documents import answers, bytes_of


@get(
    "/metrics",
    operation_id="getMetrics",
    summary="Numbers for Prometheus",
    responses=answers({200: bytes_of("text/plain", "The Prometheus text format.")}),
)
async def get_metrics() -> Response[bytes]:
    """Requests by route and status, image work by outcome."""
    return Response(metrics.exposition(), media_type=metrics.MEDIA_TYPE)


ROUTES = (get_metrics,)
